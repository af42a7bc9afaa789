package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spire-raft/spire-raft/transport/rpc"
)

// What the methods and the codes of errors mean is up to the application.
func Example() {
	const (
		methodGreet   = 1
		codeNotLeader = 1
	)
	ctx, cancel := context.WithCancel(context.Background())
	near, far := net.Pipe()
	served := make(chan error)
	go func() {
		served <- rpc.Serve(ctx, far, rpc.Config{}, func(_ context.Context, method uint8, body []byte) ([]byte, error) {
			if method != methodGreet {
				return nil, &rpc.Error{Code: codeNotLeader, Message: "ask n2"}
			}
			return append([]byte("hello "), body...), nil
		})
	}()
	client := rpc.NewClient(near, rpc.Config{})

	answer, err := client.Call(ctx, methodGreet, []byte("world"))
	fmt.Println(string(answer), err)
	_, err = client.Call(ctx, 2, nil)
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Code, refusal.Message)
	}

	client.Close()
	cancel()
	fmt.Println(<-served)
	// Output:
	// hello world <nil>
	// 1 ask n2
	// <nil>
}
