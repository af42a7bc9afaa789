package rpc

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ServeListener serves every connection of a listener, with the handler that
// handlerFor returns for it, until ctx ends or the listener is closed. Then it
// closes the listener and its connections, and waits for their handlers. The
// error is the listener's, if it was not closed.
func ServeListener(ctx context.Context, ln net.Listener, cfg Config, handlerFor func(net.Conn) Handler) error {
	cfg = cfg.withDefaults()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	wg.Go(func() {
		<-ctx.Done()
		ln.Close()
	})
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			if err := Serve(ctx, conn, cfg, handlerFor(conn)); err != nil {
				cfg.Log.Info("connection closed", "peer", conn.RemoteAddr().String(), "error", err)
			}
		})
	}
}
