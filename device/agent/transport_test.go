package agent

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// webDesk records what the agent asks of its HTTP data path.
type webDesk struct {
	*fake
	a      Agent
	ranges [][2]uint32
	urls   []string
	at     []uint32 // offsets written
}

func (d *webDesk) HTTPInit(url Text) bool {
	d.urls = append(d.urls, url.S)
	return true
}

func (d *webDesk) HTTPRequest(first, last uint32) bool {
	d.ranges = append(d.ranges, [2]uint32{first, last})
	return true
}

func (d *webDesk) WriteBlock(f *File, offset uint32, data []byte) int {
	d.at = append(d.at, offset)
	return d.fake.WriteBlock(f, offset, data)
}

func newWebDesk(p *Profile, doc []byte) *webDesk {
	d := &webDesk{fake: &fake{cfg: DefaultConfig(p), platform: PlatformValid, written: map[uint32]bool{}}}
	d.cfg.Log2Block = 8
	d.a = New(&d.cfg, "dev", 0x10002)
	d.a.Initialise(d)
	d.a.Signal(d, Start, nil)
	d.a.Process(d, -1)
	d.signal(doc)
	return d
}

func (d *webDesk) signal(doc []byte) {
	d.a.Signal(d, ReceivedJobDocument, doc)
	d.a.Process(d, -1)
}

func (d *webDesk) response(status int, first uint32, body []byte) {
	d.a.HTTPResponse(d, status, first, body)
	d.a.Process(d, -1)
}

var webDoc = document(`["MQTT"]`, `["HTTP"]`, `"filesize":300`, `"filesize":600,"update_data_url":"https://bucket/a?sig=1","auth_scheme":"aws.s3.presigned"`)

// A file by HTTP: one request at a time, in order, the last one to the end of the file.
func TestHTTP(t *testing.T) {
	for _, p := range []*Profile{Ideal, Main, V341, B36DB646, V300} {
		t.Run(p.Name, func(t *testing.T) {
			d := newWebDesk(p, webDoc)
			require.Equal(t, []string{"https://bucket/a?sig=1"}, d.urls)
			for _, want := range [][2]uint32{{0, 255}, {256, 511}, {512, 599}} {
				require.Equal(t, want, d.ranges[len(d.ranges)-1])
				d.response(206, want[0], make([]byte, want[1]-want[0]+1))
			}
			require.Equal(t, 1, d.activated)
			require.Len(t, d.ranges, 3)
			require.Equal(t, []uint32{0, 256, 512}, d.at)
		})
	}
}

// A URL that is no longer good: the job document is asked for again and the transfer goes on with the new URL.
func TestHTTPExpired(t *testing.T) {
	for _, status := range []int{400, 403, 404} {
		for _, p := range []*Profile{Ideal, Main, V341, B36DB646, V300} {
			t.Run(fmt.Sprintf("%s/%d", p.Name, status), func(t *testing.T) {
				d := newWebDesk(p, webDoc)
				d.response(206, 0, make([]byte, 256))
				asked := d.a.requests
				d.response(status, 256, []byte("<Error/>"))
				require.Equal(t, WaitingForJob, d.a.View().State)
				require.Equal(t, asked+1, d.a.requests)
				d.signal(document(`["MQTT"]`, `["HTTP"]`, `"filesize":300`, `"filesize":600,"update_data_url":"https://bucket/a?sig=2","auth_scheme":"aws.s3.presigned"`))
				require.Equal(t, "https://bucket/a?sig=2", d.urls[len(d.urls)-1])
				require.Equal(t, [2]uint32{256, 511}, d.ranges[len(d.ranges)-1])
				require.EqualValues(t, 2, d.a.View().Remaining)
			})
		}
	}
}

// Any other answer, the whole file included, is a failed request that the timer repeats, up to the limit.
func TestHTTPFailedRequest(t *testing.T) {
	d := newWebDesk(Main, webDoc)
	d.response(200, 0, make([]byte, 600))
	d.response(500, 0, nil)
	require.Len(t, d.ranges, 1)
	require.True(t, d.armed[TimerRequest])
	for range d.cfg.MomentumLimit {
		d.a.Expired(d, TimerRequest)
		d.a.Process(d, -1)
	}
	require.Len(t, d.ranges, int(d.cfg.MomentumLimit))
	require.Equal(t, Stopped, d.a.View().State)
}

// C9: with the defect the second of two bodies for one request is written as the next block.
func TestC9(t *testing.T) {
	offsets := func(p *Profile) []uint32 {
		d := newWebDesk(p, webDoc)
		d.response(206, 0, make([]byte, 256))
		d.response(206, 0, make([]byte, 256))
		return d.at
	}
	require.Equal(t, []uint32{0, 256}, offsets(Main))
	require.Equal(t, []uint32{0}, offsets(Ideal))
}
