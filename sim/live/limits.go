package live

import (
	"slices"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/quota"
)

// limits are the quotas that the broker itself enforces. Those on CONNECT are the
// cloud's.
type limits struct {
	rates         rules.Rates // of one connection
	subscriptions int         // of one connection, 0 for no limit
	expiry        uint32      // seconds that a session is kept, at most

	mu                           sync.Mutex
	subscribes, inbound, outward quota.Rate // of the account
	connections, perConnection   quota.Peak // and subscriptions of one connection
	publishes, throughput        quota.Peak // of the busiest connection, a second
	payload, filters             quota.Peak // of one packet
}

// uses adds what was used of the quotas.
func (l *limits) uses(out map[quota.Name]quota.Peak) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, p := range map[quota.Name]quota.Peak{
		quota.SubscribeRate: l.subscribes.Peak, quota.InboundPublishRate: l.inbound.Peak, quota.OutboundPublishRate: l.outward.Peak, quota.Connections: l.connections,
		quota.Subscriptions: l.perConnection, quota.ConnectionPublishes: l.publishes, quota.ConnectionThroughput: l.throughput, quota.Payload: l.payload, quota.FiltersPerSubscribe: l.filters,
	} {
		out[n] = out[n].And(p)
	}
}

// see notes a use.
func (l *limits) see(p *quota.Peak, n int, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.See(int64(n)); refused {
		p.Refused++
	}
}

// published notes a PUBLISH of n bytes of topic and payload, and what was decided on it.
func (l *limits) published(n int, publishes, throughput int64, v rules.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.payload.See(int64(n))
	l.publishes.See(publishes)
	l.throughput.See(throughput)
	if v.Drop {
		l.publishes.Refused++
	}
	if v.Wait > 0 {
		l.throughput.Refused++
	}
}

func newLimits(l quota.Limits) *limits {
	if l == nil {
		l = quota.Limits{quota.SessionExpiry: sessionExpiry, quota.Inflight: rules.ReceiveMaximum}
	}
	return &limits{rates: rules.Rates{Publishes: l[quota.ConnectionPublishes], Throughput: l[quota.ConnectionThroughput], Inflight: int(l[quota.Inflight])},
		subscriptions: int(l[quota.Subscriptions]), expiry: rules.SessionExpiry(rules.MaxSessionExpiry, l[quota.SessionExpiry]),
		subscribes: quota.Rate{PerSecond: l[quota.SubscribeRate]}, inbound: quota.Rate{PerSecond: l[quota.InboundPublishRate]},
		outward: quota.Rate{PerSecond: l[quota.OutboundPublishRate]}}
}

// allow takes one out of a rate of the account.
func (l *limits) allow(r *quota.Rate, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.Allow(now.UnixNano())
}

// budget takes a PUBLISH of n bytes out of the rates of a connection and of the
// account. wait is how long to hold it back.
func (b *Broker) budget(p *peer, account *quota.Rate, n int) (wait time.Duration, ok bool) {
	now := b.now()
	p.out.Lock()
	v := p.limiter.Publish(&b.limits.rates, now.UnixNano(), n)
	publishes, throughput := p.limiter.Asked()
	p.out.Unlock()
	b.limits.published(n, publishes, throughput, v)
	if v.Drop || !b.limits.allow(account, now) {
		b.dropped.Add(1)
		return 0, false
	}
	return v.Wait, true
}

// received applies the rates to a PUBLISH of a client, which waits for its turn. A
// publish that is dropped gets no PUBACK.
func (b *Broker) received(p *peer, n int) bool {
	wait, ok := b.budget(p, &b.limits.inbound, n)
	if !ok || wait == 0 {
		return ok
	}
	t := time.NewTimer(wait / b.clock.speed)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.gone:
		return false
	}
}

// sent applies the rates to a PUBLISH to a client. One that must wait does so on its
// way, with all that follows it.
func (b *Broker) sent(p *peer, n int) bool {
	wait, ok := b.budget(p, &b.limits.outward, n)
	if wait > 0 {
		p.hold(time.Now().Add(wait / b.clock.speed))
	}
	return ok
}

// window is how many messages of QoS 1 may be in flight to a client.
func (b *Broker) window(pr *packets.Properties) int {
	w := rules.InflightToClient(pr.ReceiveMaximum)
	if n := b.limits.rates.Inflight; n > 0 {
		w = min(w, n)
	}
	return w
}

// tooMuch reports whether properties of MQTT 5 are more than AWS takes.
func tooMuch(pr *packets.Properties) bool {
	n := 0
	for _, u := range pr.User {
		n += len(u.Key) + len(u.Val)
	}
	return n > rules.MaxUserProperties
}

// announce completes a CONNACK of MQTT 5.
func announce(pr *packets.Properties) {
	flag := func(on bool) byte {
		if on {
			return 1
		}
		return 0
	}
	pr.MaximumPacketSize, pr.TopicAliasMaximum = rules.MaximumPacketSize, rules.TopicAliasMaximum
	pr.RetainAvailable, pr.RetainAvailableFlag = flag(rules.RetainAvailable), true
	pr.WildcardSubAvailable, pr.WildcardSubAvailableFlag = flag(rules.WildcardAvailable), true
	pr.SubIDAvailable, pr.SubIDAvailableFlag = flag(rules.SubscriptionIDsKnown), true
	pr.SharedSubAvailable, pr.SharedSubAvailableFlag = flag(rules.SharedAvailable), true
}

// refuse ends a connection. MQTT 3.1.1 has no way to say why.
func (b *Broker) refuse(cl *mqtt.Client, p *peer, why rules.Reason, code byte) {
	p.ends(why)
	if cl.Properties.ProtocolVersion == 5 {
		_ = cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: code}) // or the connection is over anyway
	} else {
		p.cut()
	}
	cl.Stop(packets.Code{Code: code, Reason: string(why)})
}

// lifecycle describes a connection for events; mu is held.
func (b *Broker) lifecycle(p *peer) (who rules.Peer, ok bool) {
	if !b.watched || p.number == nil {
		return who, false
	}
	who = *p.number
	return who, !who.Silent()
}

// tell publishes an event about a connection to those who watch.
func (b *Broker) tell(p *peer, event func(who *rules.Peer, now time.Time) rules.Event) {
	b.mu.Lock()
	who, ok := b.lifecycle(p)
	b.mu.Unlock()
	if ok {
		e := event(&who, b.now())
		_ = b.publish(&Message{Topic: e.Topic, Payload: e.Payload, QoS: 1}, "") // nobody waits for it to last
	}
}

// watch notes that somebody may hear events; mu is held.
func (b *Broker) watch(filters ...string) {
	b.watched = b.watched || slices.ContainsFunc(filters, rules.HearsEvents)
}
