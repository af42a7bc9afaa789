package fsm

import "time"

var start = time.Now()
