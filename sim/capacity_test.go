package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// The worked examples of docs/capacity.md: arithmetic from AWS's metering rules and
// the agent's protocol, with nothing of the simulator in it, against the simulator.

// metered is what is billed of one device's update by MQTT in units of 5 KB: file and
// block in bytes, blocks asked for in one request, and one progress message per so
// many blocks.
func metered(file, block, perRequest, progress int) int {
	blocks := (file + block - 1) / block
	requests := (blocks + perRequest - 1) / perRequest
	const topic, cbor = 110, 20 // about; what matters is on which side of 5 KB they leave a block
	unitsOfBlock := (block + topic + cbor + 5119) / 5120
	const (
		boot    = 4 // CONNECT, SUBSCRIBE notify-next, PUBLISH get, the answer (QoS 0)
		notice  = 2 // PUBLISH notify-next (QoS 1) and the device's PUBACK
		status  = 2 // PUBLISH update and the answer, which comes subscribed or not
		boots   = 3 // before the update, on trial, and after the confirmation
		notices = 2 // the execution is queued; none is left
		data    = 1 // SUBSCRIBE to the stream
		states  = 3 // ready, active, SUCCEEDED
	)
	reports := 1 + (blocks-1)/progress // the first block and each multiple, but for the last block
	return boots*boot + notices*notice + data + requests + blocks*unitsOfBlock + (reports+states)*status
}

// onePerCent holds a measured figure against the arithmetic.
func onePerCent(t *testing.T, what string, arithmetic, measured float64) {
	t.Helper()
	t.Logf("%-28s arithmetic %12.4f, simulator %12.4f, %+.3f %%", what, arithmetic, measured, 100*(measured/arithmetic-1))
	require.InEpsilon(t, arithmetic, measured, 0.01, what)
}

func worked(t *testing.T, name string) (*scenario.Scenario, *report.Result) {
	t.Helper()
	sc := load(t, "capacity/"+name, scenario.Options{})
	r := run(t, sc, Options{Workers: 2})
	require.Equal(t, report.VerdictPass, r.Verdict, "%+v", r.Assertions)
	return sc, r
}

func TestWorkedMessages(t *testing.T) {
	_, r := worked(t, "messages")
	per := metered(1<<20, 4<<10, 1, 64)
	require.Equal(t, 543, per)
	onePerCent(t, "metered messages", float64(100*per), float64(r.Traffic.MeteredMessages))
	// On the wire: the metered ones, which are one packet each here, and the free ones: CONNACK, SUBACK (4),
	// PUBACKs of the service for 3 get and 3 states.
	packets := 100 * (per + 3 + 4 + 6)
	onePerCent(t, "MQTT packets", float64(packets), float64(r.Traffic.MQTTMessagesIn+r.Traffic.MQTTMessagesOut))
	// The image, in blocks with a topic, CBOR and an MQTT header.
	onePerCent(t, "bytes to devices", 100*256*(4096+132), float64(r.Traffic.MQTTBytesOut))
}

func TestWorkedCost(t *testing.T) {
	_, r := worked(t, "cost")
	per := metered(1<<20, 16<<10, 4, 64)
	require.Equal(t, 297, per)
	onePerCent(t, "metered messages", float64(100*per), float64(r.Traffic.MeteredMessages))
	messages, minutes, executions := float64(100*per)*1.20/1e6, 100.0*24*60, 100.0
	onePerCent(t, "connection-minutes", minutes, r.CostUSD.Usage.ConnectedMinutes)
	onePerCent(t, "USD for messages", messages, r.CostUSD.Messages)
	onePerCent(t, "USD for connections", minutes*0.096/1e6, r.CostUSD.Connectivity)
	onePerCent(t, "USD for executions", executions*0.003, r.CostUSD.JobExecutions)
	onePerCent(t, "USD", messages+minutes*0.096/1e6+executions*0.003, r.CostUSD.Total)
}

func TestWorkedDuration(t *testing.T) {
	_, r := worked(t, "duration")
	onePerCent(t, "metered messages", float64(600*metered(256<<10, 4<<10, 1, 64)), float64(r.Traffic.MeteredMessages))
	// One update, from the notification to SUCCEEDED, in seconds.
	update := 26.6*0.16 + // 1700 KiB of slot in blocks of 64 KiB
		64*(0.050+0.0043+0.013) + // 64 round trips, 4.3 KB at 8 Mbit/s, 16 pages
		0.2 + 1.05 + // the signature, the restart
		5.5 + 2.1 // boot with Wi-Fi and TLS, the self-test
	for _, c := range []struct {
		share  int
		should *float64
	}{{50, r.Updates.TimeTo50}, {90, r.Updates.TimeTo90}, {99, r.Updates.TimeTo99}} {
		require.NotNil(t, c.should)
		last := float64(600*c.share/100 - 1) // of the devices that make up the share, counted from 0
		onePerCent(t, "seconds to a share", last*60/10+update, *c.should)
	}
}

// Prices of the scenario, or of --set, are the ones that count, and say so.
func TestOwnPrices(t *testing.T) {
	r := run(t, load(t, "plans/base/field", scenario.Options{Devices: 3, Sets: []string{"cloud.prices.s3Put=1000", "cloud.prices.jobExecutions=0"}}), Options{Workers: 1})
	u := &r.CostUSD.Usage
	require.Positive(t, u.S3Puts)
	require.InDelta(t, float64(u.S3Puts), r.CostUSD.S3, 0.01)
	require.Zero(t, r.CostUSD.JobExecutions)
	for _, p := range r.CostUSD.Prices {
		require.Equal(t, p.Name == "s3Put" || p.Name == "jobExecutions", p.Source == "the scenario", p.Name)
		require.Equal(t, p.Source != "the scenario", p.Date != "", p.Name)
	}
}

// By HTTP the blocks are S3 requests and bytes to the internet; by MQTT they are
// messages, and nothing leaves S3 but to the service.
func TestCostByProtocol(t *testing.T) {
	const devices, file, block = 20, 512 << 10, 4 << 10
	by := func(protocol string) *report.Result {
		return run(t, load(t, "plans/base/field", scenario.Options{Devices: devices, Sets: []string{"updates.fw.protocols=[" + protocol + "]", "cloud.region=eu-central-1"}}), Options{Workers: 1})
	}
	mqtt, http := by("MQTT"), by("HTTP")
	require.Equal(t, devices, mqtt.Updates.Succeeded)
	require.Equal(t, devices, http.Updates.Succeeded)
	require.Zero(t, mqtt.CostUSD.Usage.S3EgressBytes)
	onePerCent(t, "bytes to devices by HTTPS", devices*file, float64(http.CostUSD.Usage.S3EgressBytes))
	m, h := &mqtt.CostUSD.Usage, &http.CostUSD.Usage
	onePerCent(t, "S3 requests of devices", devices*file/block, float64(h.S3Gets-m.S3Gets))
	// What the services do, whatever the protocol: two buckets are made and versioned, the image and its signed copy are stored.
	require.Equal(t, m.S3Puts, h.S3Puts)
	require.Equal(t, uint64(6), m.S3Puts)
	require.LessOrEqual(t, m.S3Gets, uint64(12))
	onePerCent(t, "USD for S3 by HTTPS", (devices*file/block+float64(m.S3Gets))*0.00043/1e3+6*0.0054/1e3+devices*file*0.09/(1<<30), http.CostUSD.S3)
	onePerCent(t, "USD for transfer by HTTPS", devices*file*0.09/(1<<30), http.CostUSD.S3Transfer)
	onePerCent(t, "USD for S3 by MQTT", 6*0.0054/1e3+float64(m.S3Gets)*0.00043/1e3, mqtt.CostUSD.S3)
	onePerCent(t, "messages saved by HTTPS", devices*(2*file/block+1), float64(mqtt.CostUSD.Usage.MeteredMessages-http.CostUSD.Usage.MeteredMessages))
}
