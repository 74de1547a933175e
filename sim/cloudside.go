package sim

import (
	"encoding/binary"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/trace"
)

// cloudside is the cloud in virtual time: one actor, the last one, that holds the
// cloud's services and broker, the operator who uses them, and the cloud's half of
// every link.
type cloudside struct {
	cloud   *cloud.Cloud
	op      *operator
	store   *storefront
	chain   trace.Chain
	wake    time.Duration // of the msgWake in the queue, 0: none
	changed bool          // something about the jobs, since the last barrier

	down  []network.Direction // by device
	conn  []cloud.ConnID      // by device: its latest connection, 0: none
	peers []peer              // by connection; entry 0 is none

	troubles cloudTroubles
	loot     []protocol.Frame                      // for the attacker's connection
	spies    map[cloud.ConnID]func(protocol.Frame) // who reads what comes to an attacker
	held     []cloud.Out                           // what was in the outbox when the attacker began to listen
}

// peer is one connection, open until the broker has seen it end.
type peer struct {
	device int32
	gen    uint32
	before cloud.ConnID // the device's connection before this one
	open   bool
	end    time.Duration
}

// actor runs one event of the cloud.
func (c *cloudside) actor(sh *shard, e *kernel.Event[msg]) {
	now := time.Duration(e.At)
	at := sh.w.epoch.Add(now)
	switch e.Msg.kind {
	case msgWake:
		if now != c.wake {
			return
		}
		c.wake = 0
		if did := c.cloud.Wake(at); !did && !c.op.due(now) {
			c.sleep(sh, now)
			return
		}
		c.chain.Fold(uint64(now) << 8)
	case msgStrike:
		c.chain.Fold(uint64(now)<<8 | 0x30)
		if next := c.troubles.begin(now, int(e.Msg.gen)); next > 0 {
			sh.k.Send(sh.w.cloudID, next, e.Msg)
		}
		c.changed = true
	case msgPing:
		c.takePing(sh, now, at, e.Src, &e.Msg)
		return
	case msgUnheard:
		c.listen(sh, now, e.Src, &e.Msg)
		return
	case msgFrame:
		c.chain.Fold(uint64(now)<<8 | uint64(e.Msg.frame.Kind))
		c.chain.Fold(uint64(e.Src)<<32 | uint64(e.Msg.gen))
		c.chain.Fold(uint64(e.Msg.frame.Len()))
		if isHTTP(e.Msg.frame.Kind) {
			c.https(sh, now, e.Src, e.Msg.gen, e.Msg.frame)
			break
		}
		c.receive(at, now, e.Src, e.Msg.gen, e.Msg.frame)
	}
	c.flush(sh, now)
	c.changed = c.op.run(now) || c.changed
	c.flush(sh, now)
	c.sleep(sh, now)
}

// receive hands a frame to the broker on the connection it belongs to.
func (c *cloudside) receive(at time.Time, now time.Duration, device int32, gen uint32, f protocol.Frame) {
	if f.Kind == protocol.FrameTLSClient {
		id := cloud.ConnID(len(c.peers))
		c.peers = append(c.peers, peer{device: device, gen: gen, before: c.conn[device], open: true})
		c.conn[device] = id
		c.cloud.Open(at, id)
	}
	id := c.connOf(device, gen)
	switch {
	case id == 0 || !c.peers[id].open:
	case f.Kind == protocol.FrameClose:
		c.peers[id].open, c.peers[id].end = false, now
		c.cloud.Drop(at, id)
	default:
		if len(c.op.taps) > 0 {
			var drop bool
			if f, drop, _ = c.op.intercept(at.Sub(Epoch), device, f, true); drop {
				return
			}
		}
		c.cloud.Receive(at, id, f)
	}
}

// rogueDevice stands for a connection that belongs to no device.
const rogueDevice = -1

// dial opens a connection that belongs to an attacker.
func (c *cloudside) dial() cloud.ConnID {
	id := cloud.ConnID(len(c.peers))
	c.peers = append(c.peers, peer{device: rogueDevice, open: true})
	return id
}

// collect keeps what the broker has to say to an attacker.
func (c *cloudside) collect(o *cloud.Out) {
	if read := c.spies[o.Conn]; read != nil {
		read(o.Frame)
	} else if o.Frame.Kind != 0 {
		c.loot = append(c.loot, o.Frame)
	}
	if o.Close {
		c.peers[o.Conn].open = false
	}
}

// flush puts what the broker has to say on the downlinks.
func (c *cloudside) flush(sh *shard, now time.Duration) {
	out := c.cloud.Outbox()
	if len(c.held) > 0 {
		out = append(c.held, out...)
		c.held = nil
	}
	for _, o := range out {
		p := &c.peers[o.Conn]
		if !p.open {
			continue
		}
		if p.device == rogueDevice {
			c.collect(&o)
			continue
		}
		f := o.Frame
		if len(c.op.taps) > 0 {
			var drop, cut bool
			if f, drop, cut = c.op.intercept(now, p.device, f, false); cut {
				c.cloud.Drop(sh.w.epoch.Add(now), o.Conn)
				f, o.Close = protocol.Frame{}, true
			} else if drop {
				f = protocol.Frame{}
			}
		}
		c.chain.Fold(uint64(now)<<8 | uint64(f.Kind) | 0x80)
		c.chain.Fold(uint64(p.device)<<32 | uint64(p.gen))
		c.chain.Bytes(f.Head)
		c.chain.Fold(sh.bodies.Sum(f.Body))
		l := sh.w.devs[p.device].link
		if f.Kind != 0 {
			at := c.down[p.device].Send(l, l.Downlink, now, f.Len())
			if sh.w.opt.Probe != nil {
				sh.meddle(&sh.w.devs[p.device], false, now, at, p.gen, f)
			} else {
				sh.k.Send(p.device, at, msg{kind: msgFrame, gen: p.gen, frame: f})
			}
		}
		if o.Close {
			at := c.down[p.device].Send(l, l.Downlink, now, 0)
			when := binary.LittleEndian.AppendUint64(nil, uint64(now))
			sh.k.Send(p.device, at, msg{kind: msgFrame, gen: p.gen, frame: protocol.Frame{Kind: protocol.FrameClose, Head: when}})
			p.open, p.end = false, now
		}
	}
}

// sleep sets the next wake-up of the services and the operator.
func (c *cloudside) sleep(sh *shard, now time.Duration) {
	next, ok := c.op.next()
	if t, due := c.cloud.NextWake(); due {
		if at := max(t.Sub(sh.w.epoch), now); !ok || at < next {
			next, ok = at, true
		}
	}
	if ok && (c.wake == 0 || next < c.wake) {
		c.wake = max(next, 1)
		sh.k.Send(sh.w.cloudID, c.wake, msg{kind: msgWake})
	}
}
