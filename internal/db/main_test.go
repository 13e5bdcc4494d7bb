package db_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(envChild); job != "" {
		child(job)
		return
	}
	goleak.VerifyTestMain(m)
}
