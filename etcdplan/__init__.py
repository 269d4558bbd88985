"""Plan and apply for the etcd clusters behind Kubernetes."""

__version__ = "0.1.0"
