package main

import (
	"bytes"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		os.Exit(child(what))
	}
	os.Exit(m.Run())
}

// A few devices do the whole of it, against both servers.
func TestLoad(t *testing.T) {
	set := settings{clients: 8, image: 100_000, block: 4096, window: 4, abreast: 4}
	var out bytes.Buffer
	require.NoError(t, run(set, true, &out), out.String())
	require.Contains(t, out.String(), "8 of 8 done, 16 transitions acknowledged, 0 connections lost")
	require.Contains(t, out.String(), "200 in ", "25 blocks for each of 8")
	require.Contains(t, out.String(), "mochi-mqtt alone")
	require.Contains(t, out.String(), "what is the cloud's")
}

// Without enough descriptors nothing is begun, and the remedy is told.
func TestDescriptors(t *testing.T) {
	err := run(settings{clients: math.MaxInt32}, false, nil)
	require.ErrorIs(t, err, errDescriptors)
	require.ErrorContains(t, err, "ulimit -n")
	require.Equal(t, 4, status(err))
	require.Equal(t, 0, status(nil))
}
