package vectors

import (
	"encoding/json"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
)

// Suite is one vector file and the code that answers its vectors. Replay
// returns nil if the answer is the recorded one; otherwise the error says what
// differs. Several Replays run at the same time.
type Suite struct {
	File   string // below DIR, without .jsonl or .jsonl.gz
	Replay func(t *Tables, line json.RawMessage) error
	Needs  []string // tables without which the file is skipped: images, keys, upstream_files
}

// Suites lists every file that can be replayed, in the order of the report.
var Suites = []Suite{
	{File: "flash/boot_rb0_ar0", Replay: replayBoot, Needs: []string{"images"}},
	{File: "flash/boot_rb0_ar1", Replay: replayBoot, Needs: []string{"images"}},
	{File: "flash/boot_rb1_ar0", Replay: replayBoot, Needs: []string{"images"}},
	{File: "flash/boot_rb1_ar1", Replay: replayBoot, Needs: []string{"images"}},
	{File: "flash/ota_ops_rb0_ar0", Replay: replayCalls(bootloader.IDF60), Needs: []string{"images"}},
	{File: "flash/ota_ops_rb0_ar1", Replay: replayCalls(bootloader.IDF60), Needs: []string{"images"}},
	{File: "flash/ota_ops_rb1_ar0", Replay: replayCalls(bootloader.IDF60), Needs: []string{"images"}},
	{File: "flash/ota_ops_rb1_ar1", Replay: replayCalls(bootloader.IDF60), Needs: []string{"images"}},
	{File: "flash/ota_ops_idf5_rb0_ar0", Replay: replayCalls(bootloader.IDF55), Needs: []string{"images"}},
	{File: "flash/ota_ops_idf5_rb0_ar1", Replay: replayCalls(bootloader.IDF55), Needs: []string{"images"}},
	{File: "flash/ota_ops_idf5_rb1_ar0", Replay: replayCalls(bootloader.IDF55), Needs: []string{"images"}},
	{File: "flash/ota_ops_idf5_rb1_ar1", Replay: replayCalls(bootloader.IDF55), Needs: []string{"images"}},
	{File: "flash/partition_table", Replay: replayPartitionTable},
	{File: "flash/flash_encrypt", Replay: replayFlashEncrypt},
	{File: "flash/nvs", Replay: replayNVS},
	{File: "flash/image_info", Replay: replayImageInfo, Needs: []string{"images"}},
	{File: "flash/image_info_upstream", Replay: replayImageInfo, Needs: []string{"upstream_files"}},
	{File: "flash/secure_sign", Replay: replaySign, Needs: []string{"keys"}},
	{File: "flash/secure_verify", Replay: replayVerify, Needs: []string{"keys"}},
	{File: "agent/traces-afr-v1.4.0", Replay: replayTrace(agent.AFR140)},
	{File: "agent/traces-ota-v3.0.0", Replay: replayTrace(agent.V300)},
	{File: "agent/traces-ota-b36db646", Replay: replayTrace(agent.B36DB646)},
	{File: "agent/traces-ota-v3.4.1", Replay: replayTrace(agent.V341)},
	{File: "agent/traces-ota-main", Replay: replayTrace(agent.Main)},
	{File: "agent/jobdocs", Replay: replayJobDocument},
	{File: "agent/cbor", Replay: replayCBOR},
}
