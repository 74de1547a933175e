package device

import (
	"strings"

	"github.com/otasim/otasim/device/agent"
)

// fetch is the HTTP side of a transfer. The port of the demo (aws/amazon-freertos
// demos/ota/ota_demo_core_http/ota_demo_core_http.c) sends one request at a time and waits for its response inside the
// agent's task: what else comes to the agent meanwhile waits in its queue.
type fetch struct {
	url   string
	id    uint16 // of the request that is under way, 0: none
	first uint32 // where its range begins
}

// fetching reports whether the agent's task waits for a response.
func (r *ram) fetching() bool { return r.fetch != nil && r.fetch.id != 0 }

// HTTPInit implements agent.Port: it connects to the host of the URL. A connection that fails is found out by the first
// request, whose repetition tries again.
func (d *Device) HTTPInit(url agent.Text) bool {
	r := d.ram
	if d.dead() || url.Null || !absolute(url.S) {
		return false
	}
	r.fetch = &fetch{url: url.S}
	d.openHTTP()
	return true
}

// absolute reports whether text is a URL with a host and a path.
func absolute(text string) bool {
	scheme, rest, ok := strings.Cut(text, "://")
	host, path, _ := strings.Cut(rest, "/")
	return ok && (scheme == "https" || scheme == "http") && host != "" && path != ""
}

func (d *Device) openHTTP() {
	d.flash.Advance(d.model.HTTPS)
	d.emit(NetOp{Kind: OpHTTPOpen, Topic: d.ram.fetch.url, CA: d.credentials().CA})
}

// HTTPRequest implements agent.Port.
func (d *Device) HTTPRequest(first, last uint32) bool {
	r := d.ram
	if d.dead() || r.fetch == nil || last < first {
		return false
	}
	d.flash.Advance(d.model.HTTP)
	d.point(PointBlockRequested, 0)
	r.fetch.id, r.fetch.first = d.packetID(), first
	d.emit(NetOp{Kind: OpHTTPGet, ID: r.fetch.id, Topic: r.fetch.url, First: first, Last: last})
	return true
}

// HTTPDeinit implements agent.Port.
func (d *Device) HTTPDeinit() {
	if d.ram.fetch != nil && !d.dead() {
		d.ram.fetch = nil
		d.emit(NetOp{Kind: OpHTTPClose})
	}
}

// fetched hands a response to the agent.
func (d *Device) fetched(ev Event) {
	r := d.ram
	if r.fetch == nil || r.fetch.id == 0 || ev.ID != r.fetch.id {
		return
	}
	r.fetch.id = 0
	d.flash.Advance(d.model.HTTP)
	if ev.Status == statusPartial {
		d.point(PointBlockReceived, int(r.fetch.first/d.builds[0].BlockSize()))
	} else {
		d.log('E', "http", "status %d", ev.Status)
	}
	r.agent.HTTPResponse(d, int(ev.Status), r.fetch.first, ev.Payload)
	d.runAgent()
}

// fetchFailed connects again at once, which the demo does a single time; the agent's timer repeats the request.
func (d *Device) fetchFailed(ev Event) {
	r := d.ram
	if r.fetch == nil {
		return
	}
	d.log('E', "http", "%s", ev.Err)
	if r.fetch.id == 0 || ev.ID != r.fetch.id {
		return
	}
	r.fetch.id = 0
	d.openHTTP()
	d.runAgent()
}

const statusPartial = 206
