package broker

import (
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/quota"
)

// uses are the peaks of what is no rate of the account.
type uses struct {
	connections, perClient, account, subscriptions, retained, inflight quota.Peak
	publishes, throughput                                              quota.Peak // of the busiest connection, a second
	payload, topic, slashes, filters, clientID                         quota.Peak // of one packet
}

func (u *uses) publish(l *rules.Limiter, v rules.Verdict) {
	publishes, bytes := l.Asked()
	u.publishes.See(publishes)
	u.throughput.See(bytes)
	if v.Drop {
		u.publishes.Refused++
	}
	if v.Wait > 0 {
		u.throughput.Refused++
	}
}

// Uses adds what was used of the broker's quotas. Refused counts what was refused,
// dropped or made to wait.
func (b *Broker) Uses(out map[quota.Name]quota.Peak) {
	u := &b.uses
	for n, p := range map[quota.Name]quota.Peak{
		quota.ConnectRate: b.connects.Peak, quota.SubscribeRate: b.subscribes.Peak, quota.InboundPublishRate: b.inbound.Peak, quota.OutboundPublishRate: b.outbound.Peak,
		quota.Connections: u.connections, quota.ConnectRatePerClient: u.perClient, quota.AccountSubscriptions: u.account, quota.Subscriptions: u.subscriptions,
		quota.Payload: u.payload, quota.TopicLength: u.topic, quota.TopicSlashes: u.slashes, quota.FiltersPerSubscribe: u.filters, quota.ClientIDLength: u.clientID,
		quota.RetainedMessages: u.retained, quota.Inflight: u.inflight, quota.ConnectionPublishes: u.publishes, quota.ConnectionThroughput: u.throughput,
	} {
		out[n] = out[n].And(p)
	}
}
