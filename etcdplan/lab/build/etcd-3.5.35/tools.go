//go:build tools

// Imported so that `GOFLAGS=-mod=mod go mod tidy` keeps what the two clients need in go.mod and go.sum.
package main

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
)
