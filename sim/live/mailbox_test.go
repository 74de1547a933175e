package live

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
)

// A session that has expired leaves no subscription behind.
func TestSessionExpires(t *testing.T) {
	epoch := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c, err := cloud.New(cloud.Config{Epoch: epoch, External: true})
	require.NoError(t, err)
	b, err := Listen(c, NewWallClock(0), epoch, func() {}, Options{Plain: "127.0.0.1:0"})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	conn, err := net.Dial("tcp", b.PlainAddress())
	require.NoError(t, err)
	defer conn.Close()
	subscribers := func() int { return len(b.server.Topics.Subscribers("a/b").Subscriptions) }
	// MQTT 5: CONNECT of client "me" that keeps its session for 1 s, SUBSCRIBE to a/b.
	_, err = conn.Write([]byte{0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 60, 5, 0x11, 0, 0, 0, 1, 0, 2, 'm', 'e'})
	require.NoError(t, err)
	_, err = conn.Write([]byte{0x82, 9, 0, 1, 0, 0, 3, 'a', '/', 'b', 1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return subscribers() == 1 }, 5*time.Second, 5*time.Millisecond)
	require.NoError(t, conn.Close())
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, 1, subscribers(), "the session is kept without its client")
	require.Eventually(t, func() bool { return subscribers() == 0 }, 10*time.Second, 20*time.Millisecond)
}

// The two versions of the protocol have their own codes for a refusal.
func TestRefusalCodes(t *testing.T) {
	c, err := cloud.New(cloud.Config{Epoch: epoch, External: true})
	require.NoError(t, err)
	b, err := Listen(c, NewWallClock(0), epoch, func() {}, Options{Plain: "127.0.0.1:0"})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	for version, answer := range map[byte][]byte{4: {0x20, 2, 0, 2}, 5: {0x20, 0, 0, 0x85}} {
		conn, err := net.Dial("tcp", b.PlainAddress())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		connect := []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 60, 0, 2, 'a', '/'} // no client id of a thing
		if version == 5 {
			connect = []byte{0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 60, 0, 0, 2, 'a', '/'}
		}
		_, err = conn.Write(connect)
		require.NoError(t, err)
		got := make([]byte, 4)
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		if version == 5 {
			got[1] = 0 // properties follow
		}
		require.Equal(t, answer, got)
	}
}
