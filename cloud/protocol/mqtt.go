package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrMalformed is wrapped by every decoding error of this package.
var ErrMalformed = errors.New("malformed")

// MQTT 3.1.1 control packet types (OASIS MQTT Version 3.1.1, table 2.1).
const (
	Connect     byte = 1
	Connack     byte = 2
	Publish     byte = 3
	Puback      byte = 4
	Subscribe   byte = 8
	Suback      byte = 9
	Unsubscribe byte = 10
	Unsuback    byte = 11
	Pingreq     byte = 12
	Pingresp    byte = 13
	Disconnect  byte = 14
)

var packetNames = [16]string{1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 8: "SUBSCRIBE", 9: "SUBACK",
	10: "UNSUBSCRIBE", 11: "UNSUBACK", 12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT"}

// PacketName is the standard's name of a control packet type.
func PacketName(t byte) string {
	if t < 16 && packetNames[t] != "" {
		return packetNames[t]
	}
	return fmt.Sprintf("packet(%d)", t)
}

// SubackFailure is the return code of a refused filter.
const SubackFailure byte = 0x80

// A Filter is one entry of SUBSCRIBE, or of UNSUBSCRIBE without QoS.
type Filter struct {
	Topic string
	QoS   byte
}

// A Packet is one decoded MQTT 3.1.1 control packet. Only the fields of its
// Type mean anything.
type Packet struct {
	Type byte

	// CONNECT
	ClientID     string
	CleanSession bool
	KeepAlive    uint16 // seconds
	Will         bool
	WillTopic    string
	WillPayload  []byte
	WillQoS      byte
	WillRetain   bool
	Username     string
	Password     []byte

	// CONNACK
	SessionPresent bool
	ReturnCode     byte

	// PUBLISH
	Topic   string
	Payload []byte // immutable, shares the frame's memory
	QoS     byte
	Dup     bool
	Retain  bool

	PacketID uint16 // PUBLISH with QoS 1, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK

	Filters []Filter // SUBSCRIBE, UNSUBSCRIBE
	Codes   []byte   // SUBACK
}

// MaxRemaining is the largest remaining length that MQTT can express.
const MaxRemaining = 268_435_455

func appendRemaining(b []byte, n int) []byte {
	for {
		d := byte(n & 0x7f)
		n >>= 7
		if n == 0 {
			return append(b, d)
		}
		b = append(b, d|0x80)
	}
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// Encode returns the frame of one packet. For PUBLISH the payload is not
// copied: it becomes the frame's Body.
func Encode(p *Packet) Frame {
	switch p.Type {
	case Publish:
		return EncodePublish(p.Topic, p.QoS, p.Retain, p.Dup, p.PacketID, p.Payload)
	case Connect:
		n := 10 + 2 + len(p.ClientID)
		flags := byte(0)
		if p.CleanSession {
			flags |= 0x02
		}
		if p.Will {
			flags |= 0x04 | p.WillQoS<<3
			if p.WillRetain {
				flags |= 0x20
			}
			n += 4 + len(p.WillTopic) + len(p.WillPayload)
		}
		if p.Username != "" {
			flags |= 0x80
			n += 2 + len(p.Username)
			if p.Password != nil {
				flags |= 0x40
				n += 2 + len(p.Password)
			}
		}
		b := appendRemaining(append(make([]byte, 0, n+5), Connect<<4), n)
		b = appendString(b, "MQTT")
		b = append(b, 4, flags)
		b = binary.BigEndian.AppendUint16(b, p.KeepAlive)
		b = appendString(b, p.ClientID)
		if p.Will {
			b = appendString(b, p.WillTopic)
			b = appendString(b, string(p.WillPayload))
		}
		if flags&0x80 != 0 {
			b = appendString(b, p.Username)
		}
		if flags&0x40 != 0 {
			b = appendString(b, string(p.Password))
		}
		return Frame{Kind: FrameMQTT, Head: b}
	case Connack:
		sp := byte(0)
		if p.SessionPresent {
			sp = 1
		}
		return Frame{Kind: FrameMQTT, Head: []byte{Connack << 4, 2, sp, p.ReturnCode}}
	case Puback, Unsuback:
		return Frame{Kind: FrameMQTT, Head: []byte{p.Type << 4, 2, byte(p.PacketID >> 8), byte(p.PacketID)}}
	case Subscribe, Unsubscribe:
		n := 2
		for _, f := range p.Filters {
			n += 2 + len(f.Topic)
			if p.Type == Subscribe {
				n++
			}
		}
		b := appendRemaining(append(make([]byte, 0, n+5), p.Type<<4|2), n)
		b = binary.BigEndian.AppendUint16(b, p.PacketID)
		for _, f := range p.Filters {
			b = appendString(b, f.Topic)
			if p.Type == Subscribe {
				b = append(b, f.QoS)
			}
		}
		return Frame{Kind: FrameMQTT, Head: b}
	case Suback:
		b := appendRemaining([]byte{Suback << 4}, 2+len(p.Codes))
		b = binary.BigEndian.AppendUint16(b, p.PacketID)
		return Frame{Kind: FrameMQTT, Head: append(b, p.Codes...)}
	default: // PINGREQ, PINGRESP, DISCONNECT
		return Frame{Kind: FrameMQTT, Head: []byte{p.Type << 4, 0}}
	}
}

// EncodePublish is Encode for the packet that a simulation sends most. The
// payload becomes the frame's Body and must not change afterwards.
func EncodePublish(topic string, qos byte, retain, dup bool, id uint16, payload []byte) Frame {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	first := Publish<<4 | qos<<1
	if retain {
		first |= 1
	}
	if dup {
		first |= 8
	}
	b := appendRemaining(append(make([]byte, 0, n-len(payload)+5), first), n)
	b = appendString(b, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return Frame{Kind: FrameMQTT, Head: b, Body: payload}
}

// reader walks the variable header and payload of one packet in Head.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("protocol: mqtt: %s: %w", what, ErrMalformed)
	}
}

func (r *reader) take(n int, what string) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(what)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8(what string) byte {
	if v := r.take(1, what); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16(what string) uint16 {
	if v := r.take(2, what); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) bytes(what string) []byte { return r.take(int(r.u16(what)), what) }

func (r *reader) str(what string) string { return r.again(what, "") }

// again is str where the text is often the same as the last one.
func (r *reader) again(what, last string) string {
	v := r.bytes(what)
	if last != "" && string(v) == last {
		return last
	}
	if !utf8.Valid(v) {
		r.fail(what + " is not UTF-8")
		return ""
	}
	for _, c := range v {
		if c == 0 {
			r.fail(what + " contains U+0000")
			return ""
		}
	}
	return string(v)
}

// Decode parses one packet. Packet.Payload shares the frame's memory; all else
// is copied. p.Filters and p.Codes are reused between calls on the same Packet,
// and so is p.Topic when the new one is equal.
// Malformed packets of MQTT 3.1.1, and QoS 2, return an error that wraps
// ErrMalformed.
func Decode(f Frame, p *Packet) error {
	filters, codes, last := p.Filters[:0], p.Codes[:0], p.Topic
	*p = Packet{Filters: filters, Codes: codes}
	r := reader{b: f.Head}
	first := r.u8("fixed header")
	n, shift := 0, 0
	for {
		d := r.u8("remaining length")
		if r.err != nil {
			return r.err
		}
		n |= int(d&0x7f) << shift
		if d&0x80 == 0 {
			break
		}
		if shift += 7; shift > 21 {
			r.fail("remaining length longer than four bytes")
			return r.err
		}
	}
	p.Type = first >> 4
	flags := first & 15
	if n != len(r.b)+len(f.Body) {
		r.fail(fmt.Sprintf("remaining length %d, packet has %d bytes", n, len(r.b)+len(f.Body)))
		return r.err
	}
	if p.Type != Publish {
		if len(f.Body) > 0 {
			r.fail(PacketName(p.Type) + " with a body")
			return r.err
		}
		want := byte(0)
		if p.Type == Subscribe || p.Type == Unsubscribe {
			want = 2
		}
		if flags != want {
			r.fail(fmt.Sprintf("%s with flags %#x", PacketName(p.Type), flags))
			return r.err
		}
	}
	switch p.Type {
	case Publish:
		p.Dup, p.Retain, p.QoS = flags&8 != 0, flags&1 != 0, flags>>1&3
		if p.QoS > 1 {
			r.fail(fmt.Sprintf("PUBLISH with QoS %d", p.QoS))
			return r.err
		}
		p.Topic = r.again("topic", last)
		if p.QoS > 0 {
			p.PacketID = r.u16("packet identifier")
			if p.PacketID == 0 {
				r.fail("packet identifier 0")
			}
		}
		if p.Topic == "" {
			r.fail("empty topic")
		}
		switch {
		case len(f.Body) == 0:
			p.Payload = r.b
		case len(r.b) == 0:
			p.Payload = f.Body
		default:
			p.Payload = append(append(make([]byte, 0, len(r.b)+len(f.Body)), r.b...), f.Body...)
		}
		r.b = nil
	case Connect:
		decodeConnect(&r, p)
	case Connack:
		p.SessionPresent = r.u8("acknowledge flags")&1 != 0
		p.ReturnCode = r.u8("return code")
	case Puback, Unsuback:
		p.PacketID = r.u16("packet identifier")
	case Subscribe, Unsubscribe:
		p.PacketID = r.u16("packet identifier")
		for r.err == nil && len(r.b) > 0 {
			flt := Filter{Topic: r.str("topic filter")}
			if p.Type == Subscribe {
				if flt.QoS = r.u8("requested QoS"); flt.QoS > 2 {
					r.fail(fmt.Sprintf("requested QoS %d", flt.QoS))
				}
			}
			if flt.Topic == "" {
				r.fail("empty topic filter")
			}
			p.Filters = append(p.Filters, flt)
		}
		if len(p.Filters) == 0 {
			r.fail(PacketName(p.Type) + " without a topic filter")
		}
	case Suback:
		p.PacketID = r.u16("packet identifier")
		p.Codes = append(p.Codes, r.b...)
		r.b = nil
	case Pingreq, Pingresp, Disconnect:
	default:
		r.fail(fmt.Sprintf("control packet type %d", p.Type))
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Sprintf("%d bytes after %s", len(r.b), PacketName(p.Type)))
	}
	return r.err
}

func decodeConnect(r *reader, p *Packet) {
	if r.str("protocol name") != "MQTT" || r.err != nil {
		r.fail("protocol name")
		return
	}
	if level := r.u8("protocol level"); level != 4 {
		r.fail(fmt.Sprintf("protocol level %d", level))
		return
	}
	flags := r.u8("connect flags")
	if flags&1 != 0 {
		r.fail("reserved connect flag")
		return
	}
	p.CleanSession = flags&2 != 0
	p.KeepAlive = r.u16("keep alive")
	p.ClientID = r.str("client identifier")
	if flags&4 != 0 {
		p.Will, p.WillQoS, p.WillRetain = true, flags>>3&3, flags&0x20 != 0
		if p.WillQoS > 2 {
			r.fail("will QoS 3")
		}
		p.WillTopic = r.str("will topic")
		p.WillPayload = append([]byte(nil), r.bytes("will payload")...)
	} else if flags&0x38 != 0 {
		r.fail("will flags without a will")
	}
	if flags&0x80 != 0 {
		p.Username = r.str("user name")
	}
	if flags&0x40 != 0 {
		if flags&0x80 == 0 {
			r.fail("password without a user name")
		}
		p.Password = append([]byte(nil), r.bytes("password")...)
	}
}
