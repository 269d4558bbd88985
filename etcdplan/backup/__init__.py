"""Backups: encrypted, signed, and restored once before they count."""
