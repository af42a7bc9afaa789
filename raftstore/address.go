package raftstore

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// checkListenAddress returns what is wrong with an address to listen on, and
// what helps.
func checkListenAddress(a string) error {
	_, _, err := splitAddress(a)
	return err
}

// checkAddress returns what is wrong with an address at which others reach a
// node, and what helps.
func checkAddress(a string) error {
	host, port, err := splitAddress(a)
	switch {
	case err != nil:
		return err
	case host == "":
		return errors.New("has no host: name the one that other nodes reach")
	case isWildcard(host):
		return errors.New("is a wildcard: name the host that other nodes reach")
	case port == 0:
		return errors.New("has port 0: name the port that other nodes reach")
	}
	return nil
}

// splitAddress takes an address apart that has a numeric port.
func splitAddress(a string) (host string, port uint16, err error) {
	if strings.Contains(a, "/") {
		return "", 0, errors.New("is not host:port: leave out the scheme and the path")
	}
	host, text, err := net.SplitHostPort(a)
	if err != nil {
		return "", 0, fmt.Errorf("is not host:port, with an IPv6 address in brackets: %w", err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("has port %q, which is no number up to 65535", text)
	}
	return host, uint16(number), nil
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}
