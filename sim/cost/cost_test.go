package cost

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTiers(t *testing.T) {
	us, err := Prices("us-east-1", nil)
	require.NoError(t, err)
	for _, c := range []struct {
		millions, usd float64
	}{{0, 0}, {5.3, 5.3}, {1000, 1000}, {1500, 1400}, {5000, 4200}, {6000, 4900}} {
		require.InDelta(t, c.usd, us.Bill(Usage{Messages: c.millions * 1e6}).Messages, 1e-6, "%g million messages", c.millions)
	}
}

// The worked example of a fleet of 10,000 with a 1 MiB image in 4 KiB blocks, about
// 530 messages a device.
func TestWorkedExample(t *testing.T) {
	us, err := Prices("us-west-2", nil)
	require.NoError(t, err)
	b := us.Bill(Usage{Messages: 530 * 10_000, ConnectedMinutes: 10_000 * 24 * 60, JobExecutions: 10_000, S3Gets: 10_000, S3EgressBytes: 10_000 << 20})
	require.InDelta(t, 5.3, b.Messages, 1e-9)
	require.InDelta(t, 1.152, b.Connectivity, 1e-9)
	require.InDelta(t, 30, b.JobExecutions, 1e-9)
	require.InDelta(t, 0.004, b.S3Requests, 1e-9)
	require.InDelta(t, 0.09*10_000/1024, b.S3Transfer, 1e-9)
	require.InDelta(t, b.Messages+b.Connectivity+b.JobExecutions+b.S3(), b.Total(), 1e-9)
}

func TestOwnPrices(t *testing.T) {
	p, err := Prices("eu-central-1", map[string]float64{Messages: 0.5, S3Egress: 0.01})
	require.NoError(t, err)
	require.InDelta(t, 1000, p.Bill(Usage{Messages: 2e9}).Messages, 1e-6, "one price, no tiers")
	require.InDelta(t, 0.01, p.Bill(Usage{S3EgressBytes: 1 << 30}).S3(), 1e-9)
	require.Equal(t, "the scenario", p.AsOf)
	require.InDelta(t, 1.2, Tables[1].Bill(Usage{Messages: 1e6}).Messages, 1e-9, "the shipped table is untouched")
	_, err = Prices("eu-central-1", map[string]float64{"mesages": 1})
	require.ErrorContains(t, err, "mesages")
	_, err = Prices("eu-central-1", map[string]float64{Messages: -1})
	require.Error(t, err)
}

// A PUT costs more than ten times a GET, and each has a price of its own to replace.
func TestRequestsByKind(t *testing.T) {
	for _, c := range []struct {
		region   string
		own      map[string]float64
		get, put float64
	}{
		{"us-east-1", nil, 0.4, 5},
		{"eu-central-1", nil, 0.43, 5.4},
		{"eu-west-1", nil, 0.4, 5},
		{"ap-southeast-2", nil, 0.4, 5}, // no table: that of us-
		{"eu-central-1", map[string]float64{S3Put: 0.01}, 0.43, 10},
		{"eu-central-1", map[string]float64{S3Get: 0}, 0, 5.4},
	} {
		p, err := Prices(c.region, c.own)
		require.NoError(t, err)
		require.InDelta(t, c.get, p.Bill(Usage{S3Gets: 1e6}).S3Requests, 1e-9, c.region)
		require.InDelta(t, c.put, p.Bill(Usage{S3Puts: 1e6}).S3Requests, 1e-9, c.region)
	}
}

func TestEgressTiers(t *testing.T) {
	p, err := Prices("eu-central-1", nil)
	require.NoError(t, err)
	require.InDelta(t, 1024*(10*0.09+40*0.085+100*0.07+50*0.05), p.Bill(Usage{S3EgressBytes: 200 << 40}).S3Transfer, 1e-6)
}

func TestEveryRowSaysWhereItComesFrom(t *testing.T) {
	for _, table := range Tables {
		for _, p := range table.Rows {
			require.NotEmpty(t, p.Source, p.Name)
			require.NotEmpty(t, p.Date, p.Name)
			require.Positive(t, p.USD, p.Name)
			require.Positive(t, p.Per, p.Name)
		}
		for _, name := range Names() {
			require.Positive(t, table.Bill(Usage{Messages: 1, ConnectedMinutes: 1, JobExecutions: 1, S3Gets: 1, S3Puts: 1, S3EgressBytes: 1}).Total(), name)
		}
	}
}
