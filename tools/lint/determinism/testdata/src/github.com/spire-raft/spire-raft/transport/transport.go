// Package transport is not replicated.
package transport

import "time"

// Start may use the clock.
var Start = time.Now()
