package live

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
)

// The CONNECT that paho writes without a keep-alive leaves with one, and nothing else is changed.
func TestConnectCarriesTheKeepAlive(t *testing.T) {
	clock := NewSteadyClock(0, 10)
	for _, c := range []struct {
		op    device.NetOp
		every time.Duration
		alive uint16
	}{
		{device.NetOp{KeepAlive: 60}, time.Minute, 6},
		{device.NetOp{KeepAlive: 5}, 20 * time.Second, 2},
		{device.NetOp{KeepAlive: 1200, Ping: 300 * time.Second}, 300 * time.Second, 120},
	} {
		s := &session{to: Endpoint{Clock: clock}, connect: c.op}
		p := s.newPings()
		require.Equal(t, c.every, p.every)
		for _, id := range []string{"a", string(make([]byte, 200))} {
			want := protocol.Encode(&protocol.Packet{Type: protocol.Connect, ClientID: id, KeepAlive: c.alive})
			written := protocol.Encode(&protocol.Packet{Type: protocol.Connect, ClientID: id})
			require.Equal(t, want.Head, p.saying(written.Head))
			other := protocol.EncodePublish("a/b", 1, false, false, 7, []byte("0123456789")).Head
			require.Equal(t, append([]byte(nil), other...), p.saying(other))
		}
		for _, short := range [][]byte{nil, {0x10}, {0x10, 0}, {0x10, 0x80}, {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0}} {
			require.Equal(t, short, p.saying(short))
		}
	}
}
