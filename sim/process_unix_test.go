//go:build unix

package sim

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/live"
	"github.com/otasim/otasim/sim/scenario"
)

// A fleet that the process may not have sockets for is refused before it is made.
func TestLiveNeedsFiles(t *testing.T) {
	sc := load(t, "first-update", scenario.Options{Devices: 100})
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	few := old
	few.Cur = 150
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)) }()
	_, err := Run(context.Background(), sc, Options{Mode: Live})
	var env *live.EnvironmentError
	require.ErrorAs(t, err, &env)
	require.ErrorContains(t, err, "100 devices need 264 open files, the limit is 150")
}
