package config

import (
	"time"

	"sabir/mod"
)

func seconds(n int) mod.Duration { return mod.Duration(time.Duration(n) * time.Second) }
