package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/sim/scenario"
)

// A rogue client speaks MQTT with the certificate of a device that was taken apart.

// rogue connects under a client id with the credentials of a thing. ok is false if the
// broker does not want it.
func (o *operator) rogue(now time.Duration, credentials, clientID string) (conn cloud.ConnID, ok bool, err error) {
	der, _, err := o.cloud.PKI().Device(credentials)
	if err != nil {
		return 0, false, err
	}
	at := Epoch.Add(now)
	conn = o.world.dial()
	o.cloud.Open(at, conn)
	o.cloud.Receive(at, conn, protocol.Frame{Kind: protocol.FrameTLSClient, Body: protocol.AppendCertificate(nil, der)})
	o.cloud.Receive(at, conn, protocol.Encode(&protocol.Packet{Type: protocol.Connect, ClientID: clientID, CleanSession: true, KeepAlive: 1200}))
	for _, f := range o.world.replies(conn) {
		var p protocol.Packet
		if f.Kind == protocol.FrameMQTT && protocol.Decode(f, &p) == nil && p.Type == protocol.Connack {
			ok = p.ReturnCode == 0
		}
	}
	return conn, ok, nil
}

// crossThing reports a status for each target's execution, over a connection with the
// credentials of one thing.
func (o *operator) crossThing(now time.Duration, index int, a *scenario.Attack) error {
	victims := o.victimNames(index)
	as := a.As
	if as == "" {
		as = victims[0]
	}
	accepted := 0
	for _, thing := range victims {
		conn, ok, err := o.rogue(now, as, as)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		topic := "$aws/things/" + thing + "/jobs/" + ota.JobID(a.Update) + "/update"
		before := len(o.ends.once)
		o.cloud.Receive(Epoch.Add(now), conn, protocol.EncodePublish(topic, 1, false, false, 1, []byte(`{"status":"`+a.Report+`"}`)))
		if len(o.ends.once) > before {
			accepted++
		}
		o.reach(index, thing, now)
		o.cloud.Drop(Epoch.Add(now), conn)
		o.world.replies(conn)
	}
	o.notes = append(o.notes, fmt.Sprintf("attack %s: %d of %d reports in other names were accepted", a.Name, accepted, len(victims)))
	o.passed(index, accepted)
	return nil
}

// takeOver connects once with the client id of each target, which ends the target's own connection.
func (o *operator) takeOver(now time.Duration, index int, a *scenario.Attack) error {
	welcome := 0
	for _, thing := range o.victimNames(index) {
		as := a.As
		if as == "" {
			as = thing
		}
		conn, ok, err := o.rogue(now, as, thing)
		if err != nil {
			return err
		}
		o.reach(index, thing, now)
		if ok {
			welcome++
			o.cloud.Drop(Epoch.Add(now), conn)
		}
		o.world.replies(conn)
	}
	o.passed(index, welcome)
	return nil
}

// passed counts what an attack by messages got through.
func (o *operator) passed(index, n int) {
	if o.through == nil {
		o.through = map[int]int{}
	}
	o.through[index] += n
}

// A tap is an attack on the broker's way to the devices, or on the network.
type tap struct {
	index   int
	attack  *scenario.Attack
	victims map[int32]bool
	until   time.Duration // 0: to the end
}

func (o *operator) tap(now time.Duration, index int, a *scenario.Attack) {
	t := &tap{index: index, attack: a, victims: map[int32]bool{}}
	if a.For > 0 {
		t.until = now + a.For
	}
	for _, v := range o.victims(index) {
		t.victims[int32(v)] = true
	}
	o.taps = append(o.taps, t)
}

// intercept is what a frame to or from a device becomes; drop: it is gone; cut: TLS ends the connection.
func (o *operator) intercept(now time.Duration, device int32, f protocol.Frame, up bool) (out protocol.Frame, drop, cut bool) {
	for _, t := range o.taps {
		if !t.victims[device] || t.until > 0 && now >= t.until || f.Kind != protocol.FrameMQTT || len(f.Head) == 0 || f.Head[0]>>4 != protocol.Publish {
			continue
		}
		var p protocol.Packet
		if protocol.Decode(f, &p) != nil {
			continue
		}
		switch t.attack.Type {
		case scenario.AttackManInTheMiddle:
			if !up {
				o.hits(t, device, now)
				return f, true, true // bad_record_mac
			}
		case scenario.AttackSuppress:
			if carries(p.Topic, t.attack.Traffic, up) {
				o.hits(t, device, now)
				return f, true, false
			}
		case scenario.AttackForgeBlocks:
			if !up && carries(p.Topic, "blocks", up) {
				o.hits(t, device, now)
				f.Body = forge(f.Body, t.attack)
			}
		}
	}
	return f, false, false
}

// hits notes that a tap has met a message of a device.
func (o *operator) hits(t *tap, device int32, now time.Duration) {
	o.fire(t.index)
	o.reach(t.index, o.names[device], now)
}

// carries reports whether a topic belongs to a kind of traffic.
func carries(topic, kind string, up bool) bool {
	_, service, rest, _ := protocol.ParseThingTopic(topic)
	switch kind {
	case "notify":
		return !up && service == "jobs" && strings.HasPrefix(rest, "notify")
	case "jobs":
		return service == "jobs"
	case "blocks":
		return service == "streams" && strings.HasSuffix(rest, "data/cbor")
	case "reports":
		return up && service == "jobs" && strings.HasSuffix(rest, "/update")
	}
	return true
}

// forge changes a data message: BF 61 66 file 61 69 index 61 6C length 61 70 payload FF.
func forge(body []byte, a *scenario.Attack) []byte {
	b := slices.Clone(body)
	member := byte('i')
	switch a.Forge {
	case "flip":
		b[len(b)-2-len(b)/4] ^= a.Xor
		return b
	case "swap-file":
		member = 'f'
	}
	for i := 1; i+2 < min(len(b), 96); i++ {
		if b[i] == 0x61 && b[i+1] == member {
			switch v := &b[i+2]; {
			case *v < 0x17:
				*v ^= 1
			case *v == 0x18:
				b[i+3] ^= 1
			case *v == 0x19:
				b[i+4] ^= 1
			}
			break
		}
	}
	return b
}
