package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/sim/check"
)

func load(t *testing.T, path string, opt Options) *Scenario {
	t.Helper()
	s, ps, err := Load(path, opt)
	require.NoError(t, err)
	for _, p := range ps {
		require.True(t, p.Warning, p.String())
	}
	require.NotNil(t, s)
	return s
}

func TestFullScenario(t *testing.T) {
	s := load(t, "testdata/full.yaml", Options{})
	require.Equal(t, "full", s.Metadata.Name)
	require.EqualValues(t, 42, s.Seed)
	require.Equal(t, 12*time.Hour, s.Duration)
	require.Equal(t, 1000, s.Devices())

	fw := s.FirmwareByVersion("1.1.0")
	require.Equal(t, Firmware{Version: "1.1.0", Project: "demo", Size: 1 << 20, SecureVersion: 2, SelfTest: SelfTestFail, SelfTestShare: Million, SelfTestDuration: 3 * time.Second, Sign: []string{"ota"}, Origin: OriginRelease, Pos: Pos{10, 5}}, *fw)
	require.True(t, s.FirmwareByVersion("0.9.0").AllowDowngrade)

	canary, field := s.Group("canary"), s.Group("field")
	require.Equal(t, "esp32-canary-00050", canary.ThingName(50))
	require.Equal(t, Flash{8 << 20, "qio", "80m"}, canary.Flash)
	require.Equal(t, Sdkconfig{Rollback: true, AntiRollback: true, SecVerBits: 32, PartitionTableOffset: 0x9000, PartitionTableMD5: true}, canary.Sdkconfig, "merged key by key")
	require.False(t, field.Sdkconfig.AntiRollback)
	require.Equal(t, Otaconfig{Log2FileBlockSize: 12, MaxNumBlocksRequest: 8, FileRequestWait: 2500 * time.Millisecond}, canary.Otaconfig)
	require.Equal(t, 4, field.Otaconfig.MaxNumBlocksRequest)
	require.True(t, field.AgentProfile().TokenLosesDigit)
	require.False(t, agent.Ideal.TokenLosesDigit)
	require.Equal(t, "idf-5.5", canary.Bootloader)
	require.Equal(t, "afr-2022", field.Bootloader)
	require.Equal(t, "home", canary.Network)
	require.True(t, canary.EFuseVersionSet)
	require.Equal(t, time.Minute, field.StartTo)

	mixed := s.NetworkByName("mixed")
	require.Equal(t, []WeightedLink{
		{800_000, "home", Link{Downlink: 8_000_000, Uplink: 2_000_000, Latency: 25 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 5_000}},
		{200_000, "", Link{Downlink: 400_000, Latency: 180 * time.Millisecond, Jitter: 90 * time.Millisecond, Loss: 30_000, DisconnectEvery: 20 * time.Minute, DisconnectFrom: 45 * time.Second, DisconnectTo: 45 * time.Second}},
	}, mixed.Links)
	require.Nil(t, s.NetworkByName(DefaultNetwork), "nobody uses it")

	u := s.Updates[0]
	require.Equal(t, []string{"canary", "esp32-field-00002"}, u.Targets)
	require.Equal(t, Trigger{At: 5 * time.Minute, HasAt: true}, u.Trigger)
	require.Equal(t, ExponentialRate{20, 1_500_000, 0, 40}, *u.Rollout.Exponential)
	require.Equal(t, []AbortCriteria{{"ALL", "CANCEL", 25_000, 10}}, u.Abort)
	require.Equal(t, time.Hour, u.InProgressTimeout)
	require.Equal(t, 10*time.Minute, u.PresignedExpires)

	u = s.Updates[1]
	require.Equal(t, []string{"field"}, u.Targets, "names out of the ARNs of the JSON")
	require.Equal(t, "from the JSON", u.Description)
	require.Equal(t, "field", u.OTAUpdateID)
	require.Equal(t, 100, u.Rollout.MaximumPerMinute)
	require.Equal(t, After{"canary", "COMPLETED", 10 * time.Minute}, *u.After)
	holds, err := u.When.Holds(&check.Env{})
	require.NoError(t, err)
	require.True(t, holds)

	require.Len(t, s.Events, 12)
	for _, e := range s.Events {
		require.NotEmpty(t, e.Action())
	}
	require.Equal(t, During{"otadata-write", device.PhaseOtadata, true}, s.Faults[0].During[3])
	require.Equal(t, Point{device.PointBlockProgrammed, 128}, *s.Faults[1].At)
	require.True(t, s.Faults[1].PowerCut.HasKeep)
	require.EqualValues(t, 12, s.Faults[1].PowerCut.Keep)
	require.EqualValues(t, 500_000, s.Attacks[0].Fraction)
	require.Equal(t, []string{"canary", "field"}, s.Attacks[1].Targets, "everybody")
	require.EqualValues(t, 1, s.Attacks[1].Xor)
	require.Len(t, s.Limits(), 4)
	require.Len(t, s.Rules(), 4)

	v, err := s.Variant("small")
	require.NoError(t, err)
	require.Equal(t, 60, v.Devices())
	require.Equal(t, 1000, s.Devices())
}

func TestSetOverridesAndWorkingDirectory(t *testing.T) {
	s := load(t, "testdata/full.yaml", Options{Sets: []string{"firmware.1.1.0.size=64KiB", "fleet.groups.canary.count=10", "seed=9", "seed=10"}})
	require.EqualValues(t, 64<<10, s.FirmwareByVersion("1.1.0").Size)
	require.Equal(t, 960, s.Devices())
	require.EqualValues(t, 10, s.Seed, "the later one wins")
	seed := uint64(77)
	require.EqualValues(t, 77, load(t, "testdata/full.yaml", Options{Seed: &seed}).Seed)

	s = load(t, "testdata/full.yaml", Options{Sets: []string{"cloud.quotas={jobs-data-writes: 50, connections: unlimited}", "cloud.quotas.jobs-data-writes=60", "cloud.quotas.connect-rate=5",
		"cloud.switches={stream-answers: requester}", "cloud.switches.refused-connect=5"}})
	require.Equal(t, "aws-default,jobs-data-writes=60,connections=unlimited,connect-rate=5", s.Cloud.Quotas)
	require.Equal(t, []string{"stream-answers=requester", "refused-connect=5"}, s.Cloud.Switches)

	_, _, err := Load("testdata/full.yaml", Options{Sets: []string{"firmware.2.0.0.size=1KiB"}})
	require.ErrorIs(t, err, ErrUsage)
	_, _, err = Load("testdata/full.yaml", Options{Devices: 1})
	require.ErrorIs(t, err, ErrUsage)
	_, _, err = Load("testdata/none.yaml", Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestScale: largest remainder, every group keeps a device, the sum is exact.
func TestScale(t *testing.T) {
	s := load(t, "testdata/full.yaml", Options{Devices: 100})
	require.True(t, s.Scaled)
	require.Equal(t, []int{5, 95}, []int{s.Group("canary").Count, s.Group("field").Count})
	// A thing that the scenario names is gone in a fleet this small.
	s, ps, err := Load("testdata/full.yaml", Options{Devices: 2})
	require.NoError(t, err)
	require.Nil(t, s)
	require.Contains(t, ps[0].Text, "unknown group or thing")
	require.False(t, load(t, "testdata/full.yaml", Options{Devices: 1000}).Scaled)

	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(1, 5_000_000), 1, 8).Draw(t, "counts")
		n := rapid.IntRange(1, 10_000_000).Draw(t, "n")
		out, err := spread(counts, n)
		if n < len(counts) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		sum := 0
		for _, c := range out {
			require.Positive(t, c)
			sum += c
		}
		require.Equal(t, n, sum)
	})
}

// edits change the good file in one place each; the message must say what is wrong there.
var edits = []struct{ old, new, message string }{
	{"seed: 42", "seed: -1", "-1 is too small"},
	{"seed: 42", "seed: 42\nplantedDefects: [skip-signatur]", `did you mean "skip-signature"?`},
	{"duration: 12h", "duration: 0s", "the duration must be longer than 0"},
	{"duration: 12h", "duration: 3h", "after the end of the scenario"},
	{"count: 950, ", "count: 950, count: 3, ", "duplicate key \"count\""},
	{"size: 1 MiB, secureVersion: 1", "size: 1700 KiB, secureVersion: 1", "firmware 1.0.0 has 1740800 bytes and 80 of trailer, slot ota_0 of partitions_two_ota_large.csv has 1740800"},
	{"size: 1 MiB, secureVersion: 1", "size: 1000001, secureVersion: 1", "multiple of 16"},
	{"sign: [ota]", "sign: [otta]", `unknown key "otta"`},
	{"target: esp32, delta: none", "target: esp32c3, delta: none", "firmware 0.9.0 is for the esp32c3, the devices are of the esp32"},
	{"delta: none", "delta: auto", `"auto" is not supported by this version`},
	{"scheme: sig-sha256-ecdsa", "scheme: secure-boot-v2-ecdsa", "not supported by this version"},
	{"scheme: sig-sha256-ecdsa", "scheme: sig-sha256-ecdsa, file: nokey.pem", "no such file"},
	{"agent: ideal", "agent: ota-mian", `unknown agent "ota-mian"`},
	{"tokenLosesDigit", "tokenLoosesDigit", `did you mean "tokenLosesDigit"?`},
	{"tokenLosesDigit", "asksOnce", `agent ideal has no behaviour "asksOnce"`},
	{"CONFIG_SECURE_BOOT_V2_ENABLED: n", "CONFIG_SECURE_BOOT_V2_ENABLED: y, CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE: y", "the esp32 cannot revoke keys"},
	{"CONFIG_SECURE_BOOT_V2_ENABLED: n", "CONFIG_SECURE_BOOT_V2_ENABLED: y, CONFIG_SECURE_BOOT_V1_ENABLED: y", "contradicts secure boot V1"},
	{"CONFIG_SECURE_BOOT_V2_ENABLED: n", "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE: y", "without flash encryption"},
	{"bootloader: idf-5.5", "bootloader: afr-2018\n    secureBoot: {keys: [ota]}", "unknown key of secure boot V2"},
	{"CONFIG_PARTITION_TABLE_OFFSET: 0x9000", "CONFIG_PARTITION_TABLE_OFFSET: 0x9001", "multiple of 0x1000"},
	{"CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE: y", "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE: n", "ANTI_ROLLBACK needs"},
	{"size: 8MB", "size: 2MB", "behind the end of the flash"},
	{"partitions: partitions_two_ota_large.csv", "partitions: partitions_singleapp.csv", "has 0 OTA slots"},
	{"partitions: partitions_two_ota_large.csv", "partitions: mine.csv", "no partition table"},
	{"partitions: partitions_two_ota_large.csv", "partitions: update.json", "partition table"},
	{"efuseSecureVersion: 1", "efuseSecureVersion: 3", "would not boot"},
	{"firmware: 1.0.0\n    network", "network", "has no firmware to start with"},
	{"network: mixed, b", "network: mxied, b", `unknown network "mxied"`},
	{"weight: 80%", "weight: 70%", "add up to 90.0000%"},
	{"use: home", "use: hom", `unknown network "hom"`},
	{"latency: 25ms, jitter: 10ms", "latency: 25ms, jitter: 30ms", "cannot be larger than the latency"},
	{"region: us-east-1", "region: Virginia", "expected a region"},
	{"account: 210987654321", "account: 21", "twelve digits"},
	{"targets: [canary, esp32-field-00002]", "targets: [canary, esp32-field-00951]", "unknown group or thing"},
	{"protocols: [MQTT]", "protocols: [COAP]", `unknown value "COAP"`},
	{"incrementFactor: 1.5", "incrementFactor: 9.5", "out of range"},
	{"thresholdPercentage: 2.5", "thresholdPercentage: 101", "out of range"},
	{"{numberOfSucceededThings: 40}", "{numberOfSucceededThings: 40, numberOfNotifiedThings: 2}", "exactly one of"},
	{"from: update.json", "from: updat.json", `did you mean "update.json"?`},
	{"after: {otaUpdateId: canary, jobStatus: COMPLETED, delay: 10m}", "after: {otaUpdateId: field, jobStatus: COMPLETED}", "cannot wait for itself"},
	{"after: {otaUpdateId: canary, jobStatus: COMPLETED, delay: 10m}", "after: {otaUpdateId: canary, jobStatus: DONE}", `unknown value "DONE"`},
	{`when: jobs["canary"].failed`, `when: jobs["cannary"].failed`, `unknown otaUpdateId "cannary"`},
	{"thing: esp32-canary-00001", "thing: esp32-canary-00056", "unknown thing"},
	{"deleteJob: {otaUpdateId: field, force: true}}", "deleteJob: {otaUpdateId: field}, powerOn: {groups: [field]}}", "exactly one action"},
	{"associateTargetsWithJob: {otaUpdateId: canary", "associateTargetsWithJob: {otaUpdateId: field", "CONTINUOUS"},
	{"at: 3h, addThings", "addThings", "when does this happen?"},
	{"newNames: [n1, n2]", "newNames: [n1]", "1 new names for 2 devices"},
	{"{things: [esp32-field-00001], suffix: -b}", "{things: [esp32-field-00001]}", "either suffix or newNames"},
	{"during: [download,", "during: [downlaod,", `did you mean "download"?`},
	{"at: block(128).programmed", "at: block(x).programmed", "unknown point"},
	{"torn: word, keep", "torn: none, keep", "torn is none"},
	{"type: power-cut, select: {groups", "type: flash-media, select: {groups", "what does the flash-media fault do?"},
	{"type: power-cut, select: {groups", "type: memory, effect: stuck, select: {groups", "stuck is no effect of a fault of type memory"},
	{"effect: one-way, direction: up", "effect: one-way", "in which direction does nothing pass?"},
	{"effect: one-way, direction: up", "effect: degrade", "what gets worse?"},
	{"effect: one-way, direction: up", "effect: outage, torn: page", "torn belongs to faults of type power-cut"},
	{"effect: one-way, direction: up", "effect: drop-message", "messages of which direction?"},
	{"effect: one-way, direction: up", "effect: delay-message, direction: up", "how much later does the message arrive?"},
	{"effect: one-way, direction: up", "effect: drop-message, direction: up, latency: 1s", "a message that is lost has no latency"},
	{"effect: one-way, direction: up", "effect: drop-message, direction: up, topic: $aws/things/x", "topic is what follows $aws/things/THING/"},
	{"effect: one-way, direction: up", "effect: outage, nth: 3", "nth belongs to faults of single messages"},
	{"at: 10m..2h, every: 1h", "every: 1h, at: self-test", "every belongs to a fault that strikes at a time"},
	{"at: 10m..2h, every: 1h", "at: 13h", "after the end of the scenario"},
	{"networks: [mixed]", "networks: [mxied]", `unknown network "mxied"`},
	{"copy: 1, keep: 12B", "copy: 2", "too large"},
	{"reads: 1000}", "oneIn: 3}", "after how many reads"},
	{"ahead: 400d", "ahead: 1d, behind: 1d", "by how much does the clock jump?"},
	{"disconnect: {every: 20m", "disconnect: {every: 1ms", "more often than every second"},
	{"off: 5s..10m", "off: 10m..5s", "first end is the smaller one"},
	{"lacks: [signing_key", "lacks: [singing-key", "unknown capability"},
	{"offset: 0x1000", "offset: 0x100000", "the image has 1048576 bytes"},
	{"xor: 0x01", "xor: 0", "too small"},
	{"image: 0.9.0", "image: 0.8.0", `unknown firmware "0.8.0"`},
	{"actor: {holds: [bucket]}", "threat: T40", "who carries out tamper-image, and what do they hold? an attack has an actor"},
	{"actor: {holds: [bucket]}", "actor: {lacks: [network]}", "= help: actor: {holds: [bucket]}"},
	{"type: tamper-image", "type: flash-write", "an attack of type flash-write needs write"},
	{"type: tamper-image, actor: {holds: [bucket]}", "type: cross-thing, actor: {holds: [network]}, report: FAILED", "cross-thing takes device-credentials, which its actor does not hold"},
	{"type: tamper-image, ", "type: replace-image, image: 1.0.0, signature: stolen, ", "takes signing-key, which its actor does not hold"},
	{"type: tamper-image, actor: {holds: [bucket]}", "type: suppress, actor: {holds: [network]}, traffic: jobs", "cannot tell messages inside TLS apart"},
	{"fleet.groups.field.count: 10", "fleet.groups.feld.count: 10", "is not known in fleet.groups"},
	{"fleet.groups.field.count: 10", "fleet.groups.field.count: none", "expected a whole number"},
	{"violates: [alive]", "violates: [not alive]", "unknown rule"},
	{"p(50) < 10m", "p(50) <> 10m", "expected a limit"},
	{"job_execution_duration{group:canary}", "job_execution_duration{group:cnary}", `unknown group "cnary"`},
	{"fleet.bricked == 0", "fleet.bricked", "must be true or false"},
	{"fleet.bricked == 0", "none(devices, .bricked)", "devices cannot be used here"},
	{`on_version["1.1.0"]`, `on_version["1.1.1"]`, `unknown firmware version "1.1.1"`},
	{`groups["canary"]`, `groups["cannary"]`, `unknown group "cannary"`},
	{`faults["mains"]`, `faults["main"]`, `did you mean "mains"?`},
	{"running.secureVersion >=", "running.secureVersoin >=", `did you mean "secureVersion"?`},
	{"groups: [canary]\n", "groups: [cnary]\n", `unknown group "cnary"`},
	{"abortOnFail: true", "abortOnFail: maybe", "expected true or false"},
	{"severity: warning", "abortOnFail: true", "abortOnFail belongs to"},
	{"atEnd: fleet", "sometimes: now > duration(\"1s\")\n    atEnd: fleet", "exactly one of always"},
	{"quotas: unlimited", "quotas: unlimmited", `did you mean "unlimited"?`},
	{"quotas: unlimited", "quotas: {job-data-writes: 50}", `did you mean "jobs-data-writes"?`},
	{"quotas: unlimited", "quotas: {jobs-data-writes: -1}", "expected a whole number from 1, or unlimited"},
	{"quotas: unlimited", "quotas: {jobs-data-writes: [1]}", "expected a whole number from 1, or unlimited"},
	{"quotas: unlimited", "quotas: {payload: 1}", "part of what a request may look like"},
	{"quotas: unlimited", "quotas: [unlimited]", "expected aws-default, unlimited or a mapping"},
	{"quotas: unlimited", "switches: {stream-answer: requester}", `did you mean "stream-answers"?`},
	{"quotas: unlimited", "switches: {stream-answers: requestor}", `did you mean "requester"?`},
	{"kind: Scenario", "kind: Sweep", `unknown value "Sweep"`},
}

func TestMistakes(t *testing.T) {
	good, err := os.ReadFile("testdata/full.yaml")
	require.NoError(t, err)
	update, err := os.ReadFile("testdata/update.json")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "update.json"), update, 0o644))
	for _, e := range edits {
		t.Run(e.new, func(t *testing.T) {
			require.Contains(t, string(good), e.old)
			path := filepath.Join(dir, "bad.yaml")
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(good), e.old, e.new, 1)), 0o644))
			s, ps, err := Load(path, Options{})
			require.NoError(t, err)
			require.Nil(t, s)
			var all strings.Builder
			for _, p := range ps {
				p.Write(&all, false)
			}
			require.Contains(t, all.String(), e.message)
		})
	}
}

func TestRealImage(t *testing.T) {
	dir := os.Getenv("OTASIM_FIRMWARE")
	if dir == "" {
		t.Skip("OTASIM_FIRMWARE is not set: no real image")
	}
	app := filepath.Join(dir, "esp32-app-template.bin")
	s := load(t, "testdata/full.yaml", Options{Sets: []string{"firmware.1.1.0.image=" + app}})
	info, err := os.Stat(app)
	require.NoError(t, err)
	fw := s.FirmwareByVersion("1.1.0")
	require.Equal(t, app, fw.Image)
	require.EqualValues(t, info.Size(), fw.Size)
	require.Equal(t, "esp32", fw.Target)

	_, ps, err := Load("testdata/full.yaml", Options{Sets: []string{"firmware.1.1.0.image=" + filepath.Join(dir, "bootloader_esp32_v5_2.bin")}})
	require.NoError(t, err)
	require.NotEmpty(t, ps, "a bootloader is no app")
}

func TestAntiRollbackWithFactoryWarns(t *testing.T) {
	s, ps, err := Load("testdata/full.yaml", Options{Sets: []string{"fleet.defaults.partitions=partitions_two_ota.csv", "firmware.1.0.0.size=64KiB", "firmware.1.1.0.size=64KiB"}})
	require.NoError(t, err)
	require.NotNil(t, s)
	found := false
	for _, p := range ps {
		found = found || strings.Contains(p.Text, "anti-rollback with a factory partition")
	}
	require.True(t, found)
}
