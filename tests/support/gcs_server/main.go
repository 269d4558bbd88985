// A server that speaks GCS, in memory, on a port of loopback: gcs-server PORT.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	port, err := strconv.ParseUint(os.Args[1], 10, 16)
	if err == nil {
		_, err = fakestorage.NewServerWithOptions(fakestorage.Options{
			Scheme: "http", Host: "127.0.0.1", Port: uint16(port),
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}
