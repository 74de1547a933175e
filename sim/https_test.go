package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// TestExpiredURL: a presigned URL that expires during the download costs each slow device one refused request.
func TestExpiredURL(t *testing.T) {
	const blocks, services = 128, 14 // of the image; requests of the services themselves
	count := func(sets ...string) int {
		res := run(t, load(t, "http-update", scenario.Options{Devices: 8, Sets: sets}), Options{Workers: 2})
		require.Equal(t, report.VerdictPass, res.Verdict, "%+v", res.Assertions)
		require.NotNil(t, res.CostUSD)
		require.Equal(t, res.Traffic.HTTPRequests, res.CostUSD.Usage.S3Requests)
		require.Positive(t, res.CostUSD.Usage.S3EgressBytes)
		return int(res.Traffic.HTTPRequests)
	}
	never := count("updates.by-http.awsJobPresignedUrlConfig.expiresInSec=3600")
	require.Equal(t, 6*blocks+services, never)
	require.Equal(t, never+2, count(), "two devices have slow links")
}

// TestDataProtocols: which way a device takes is a matter of how it was built and what the job offers.
func TestDataProtocols(t *testing.T) {
	for _, c := range []struct {
		enabled, primary, offer string
		http, mqtt              bool
	}{
		{"MQTT|HTTP", "MQTT", "[MQTT, HTTP]", false, true},
		{"MQTT|HTTP", "HTTP", "[MQTT, HTTP]", true, false},
		{"MQTT|HTTP", "HTTP", "[MQTT]", false, true},
		{"HTTP", "MQTT", "[MQTT, HTTP]", true, false},
		{"MQTT", "HTTP", "[MQTT, HTTP]", false, true},
		{"MQTT", "MQTT", "[HTTP]", false, false},
	} {
		res := run(t, load(t, "http-update", scenario.Options{Devices: 3, Sets: []string{
			"fleet.defaults.otaconfig.ENABLED_DATA_PROTOCOLS=" + c.enabled, "fleet.groups.both.otaconfig.PRIMARY_DATA_PROTOCOL=" + c.primary,
			"updates.by-either.protocols=" + c.offer, "firmware.1.1.0.size=64KiB",
		}}), Options{Workers: 1})
		var job report.Job
		for _, j := range res.Jobs {
			if j.OTAUpdateID == "by-either" {
				job = j
			}
		}
		require.Equal(t, c.http || c.mqtt, job.Succeeded == 1, "%+v: %+v", c, job)
		require.Equal(t, c.mqtt, res.Traffic.MQTTBytesOut > 64<<10, "%+v", c)
	}
}
