"""The certificate authority, keys at rest, and facts of certificates: a small library of its own.

It imports nothing of etcdplan but the error base.
"""
