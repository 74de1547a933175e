package live

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testPath delays, and loses what it is told to.
type testPath struct {
	delay        time.Duration
	noUp, noDown bool
}

func (p *testPath) Up(_ uint32, now time.Duration, _ int) (time.Duration, bool) {
	return now + p.delay, !p.noUp
}

func (p *testPath) Down(_ uint32, now time.Duration, _ int) (time.Duration, bool) {
	return now + p.delay, !p.noDown
}

func (p *testPath) Dial(context.Context) error { return nil }

// pair is a shaped connection and the other end of it.
func pair(t *testing.T, path Path) (*shaped, net.Conn, *Flights) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err := l.Accept()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); _ = far.Close(); running.Wait() })
	flights := &Flights{}
	return shape(ctx, raw, path, NewWallClock(0), flights, 1, &running), far, flights
}

func read(t *testing.T, c net.Conn, n int) string {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	return string(b)
}

func TestShapedDelaysBothWays(t *testing.T) {
	const delay = 80 * time.Millisecond
	s, far, flights := pair(t, &testPath{delay: delay})
	start := time.Now()
	for _, text := range []string{"one ", "two ", "three"} {
		_, err := s.Write([]byte(text))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return flights.Next() != Never }, time.Second, time.Millisecond)
	require.Equal(t, "one two three", read(t, far, 13), "in order")
	took := time.Since(start)
	require.GreaterOrEqual(t, took, delay)
	require.Less(t, took, 3*delay, "pieces travel at the same time")
	start = time.Now()
	_, err := far.Write([]byte("back"))
	require.NoError(t, err)
	require.Equal(t, "back", read(t, s, 4))
	require.GreaterOrEqual(t, time.Since(start), delay)
	require.Equal(t, Never, flights.Next())
}

// What was written before Close arrives, as after a reset of the device.
func TestShapedClosesAfterwards(t *testing.T) {
	s, far, _ := pair(t, &testPath{delay: 50 * time.Millisecond})
	_, err := s.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	all, err := io.ReadAll(far)
	require.NoError(t, err)
	require.Equal(t, "last words", string(all))
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// Half open: one direction passes nothing, the other one everything.
func TestShapedOneWay(t *testing.T) {
	s, far, _ := pair(t, &testPath{noUp: true})
	n, err := s.Write([]byte("into the void"))
	require.NoError(t, err)
	require.Equal(t, 13, n)
	_, err = far.Write([]byte("heard"))
	require.NoError(t, err)
	require.Equal(t, "heard", read(t, s, 5))
	require.NoError(t, far.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = far.Read(make([]byte, 1))
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)

	s, far, _ = pair(t, &testPath{noDown: true})
	_, err = s.Write([]byte("up"))
	require.NoError(t, err)
	require.Equal(t, "up", read(t, far, 2))
}

func TestShapedSevered(t *testing.T) {
	s, far, _ := pair(t, &testPath{})
	s.sever(true)
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, errBroken)
	_, err = far.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the other end learns of it")

	s, far, _ = pair(t, &testPath{})
	s.sever(false)
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, errBroken)
	require.NoError(t, s.Close())
	require.NoError(t, far.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = far.Read(make([]byte, 1))
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "the other end believes in it: %v", err)
	_, err = far.Write([]byte("hello?"))
	require.NoError(t, err)
}
