//go:build tools

// Imported so that `GOFLAGS=-mod=mod go mod tidy` keeps what kube-apiserver needs in go.mod and go.sum. The staging
// modules that go.mod replaces are those of k8s.io/kubernetes's own go.mod, at the version v0.<minor>.<patch>.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
