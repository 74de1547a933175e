package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// oneSided are attack scenarios without a variant that ends otherwise: nothing takes their defence away.
var oneSided = []string{"T62-membership-race"}

// row is what docs/attacks.md says of an attack scenario.
func row(name, class string, sc *scenario.Scenario) string {
	id, _, _ := strings.Cut(name, "-")
	var variants []string
	for _, v := range sc.Variants {
		variants = append(variants, v.Name+": "+v.Verdict)
	}
	return fmt.Sprintf("| %s | %s | %s | [%s](../scenarios/attacks/%s.yaml) | %s |\n", id, sc.Metadata.Description, class, name, name, strings.Join(variants, "; "))
}

// Every attack scenario ends as each of its variants declares, names its threat and says its class. Each has a variant in
// which the attack fails, or is seen, and one in which it does not, and says which rules then break: so the file has teeth.
func TestAttackScenarios(t *testing.T) {
	files, err := filepath.Glob("../scenarios/attacks/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(files), 60)
	table, err := os.ReadFile("../docs/attacks.md")
	require.NoError(t, err)
	require.Contains(t, string(table), fmt.Sprintf("\n%d files for ", len(files)))
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := load(t, "attacks/"+name, scenario.Options{})
			classes, class := 0, ""
			for _, c := range []string{"prevented", "detected", "documented"} {
				if slices.Contains(sc.Metadata.Tags, c) {
					classes, class = classes+1, c
				}
			}
			require.Equal(t, 1, classes, "tags: %v", sc.Metadata.Tags)
			require.Contains(t, string(table), row(name, class, sc), "docs/attacks.md")
			ends := map[bool]int{}
			for _, v := range sc.Variants {
				ends[v.Verdict == report.VerdictPass]++
				require.Equal(t, v.Verdict == report.VerdictPass, len(v.Violates) == 0, "variant %q: which rules break?", v.Name)
			}
			if !slices.Contains(oneSided, name) {
				require.NotZero(t, ends[false], "no variant shows the rules break")
				require.True(t, ends[true] > 0 || ends[false] > 1, "only one variant")
			}
			id, _, _ := strings.Cut(name, "-")
			require.Contains(t, sc.Metadata.Tags, id)
			for _, a := range sc.Attacks {
				require.Equal(t, strings.TrimRight(id, "bcdef"), a.Threat)
				require.NotEmpty(t, a.Holds, "an attack says what its actor holds")
			}
			res := run(t, sc, Options{Workers: 1})
			for _, v := range res.Variants {
				require.True(t, v.Holds, "variant %q: %s, expected %s: %+v %+v", v.Name, v.Verdict, v.Expected, v.Result.Assertions, v.Result.Notes)
			}
			require.Equal(t, report.VerdictPass, res.Verdict, "%+v %v", res.Assertions, res.Notes)
		})
	}
}

// Attacks draw from the seed alone: the same history for any number of workers.
func TestAttacksAreDeterministic(t *testing.T) {
	for _, name := range []string{"T22b-rollback-by-flash-write", "T58-reports-in-other-names", "T59-client-id-takeover", "T43-blocks-changed-by-the-broker", "T43b-bytes-changed-on-the-path",
		"T23-rollback-by-crashing-the-trial", "T09b-replay-through-the-broker", "T39-wrong-time", "T40b-signed-by-the-attacker",
		"T50-aggressive-revoke-abused", "T04-flash-read-out", "T21d-rollback-in-a-mixed-fleet", "T02-topics-of-other-things", "T03-leaked-url"} {
		t.Run(name, func(t *testing.T) {
			sc := load(t, "attacks/"+name, scenario.Options{})
			first := run(t, sc, Options{Workers: 1})
			for workers := 2; workers <= 4; workers++ {
				got := run(t, sc, Options{Workers: workers, parallel: true})
				require.Equal(t, first.TraceHash, got.TraceHash)
				require.Equal(t, first.Attacks, got.Attacks)
				require.Equal(t, first.Invariants, got.Invariants)
				for i := range first.Variants {
					require.Equal(t, first.Variants[i].Result.TraceHash, got.Variants[i].Result.TraceHash, first.Variants[i].Name)
				}
			}
		})
	}
}

// attacked runs an update of three devices with one attack.
func attacked(t *testing.T, attack string, sets ...string) *report.Result {
	t.Helper()
	sets = append([]string{"attacks=[" + attack + "]", "assertions=[{name: nobody is bricked, always: fleet.bricked == 0}]", "variants=[]", "fleet.groups.field.count=3"}, sets...)
	return run(t, load(t, "attacks/T40-arbitrary-software", scenario.Options{Sets: sets}), Options{Workers: 1})
}

// everyAttack is one attack of each type that can be carried out on T40's fleet, without a time.
var everyAttack = map[string]string{
	scenario.AttackDowngradeReplay:    "actor: {holds: [operator]}, image: 1.0.0",
	scenario.AttackMaliciousUpdate:    "actor: {holds: [operator]}, image: 6.6.6, signature: attacker",
	scenario.AttackTamperImage:        "actor: {holds: [bucket]}, update: fw, offset: 100",
	scenario.AttackReplaceImage:       "actor: {holds: [bucket]}, update: fw, image: 6.6.6, signature: original",
	scenario.AttackBucketVersion:      "actor: {holds: [bucket]}, update: fw, image: 6.6.6",
	scenario.AttackStreamSubstitution: "actor: {holds: [operator]}, update: fw, image: 6.6.6",
	scenario.AttackReplayDocument:     "actor: {holds: [operator]}, update: fw",
	scenario.AttackEditDocument:       "actor: {holds: [operator]}, update: fw, edit: {filesize: 12}",
	scenario.AttackInjectDocument:     "actor: {holds: [broker]}, update: fw",
	scenario.AttackForgeBlocks:        "actor: {holds: [broker]}, forge: flip, for: 10m",
	scenario.AttackManInTheMiddle:     "actor: {holds: [network]}, for: 2m",
	scenario.AttackSuppress:           "actor: {holds: [broker]}, traffic: notify, for: 2m",
	scenario.AttackSlow:               "actor: {holds: [network]}, rate: 64kbps, for: 2m",
	scenario.AttackBlockConfirmation:  "actor: {holds: [network]}, for: 2m",
	scenario.AttackWrongTime:          "actor: {holds: [time]}, ahead: 1h, for: 2m",
	scenario.AttackCancelJob:          "actor: {holds: [operator]}, update: fw, force: true",
	scenario.AttackDeleteJob:          "actor: {holds: [operator]}, update: fw, force: true",
	scenario.AttackJobSpam:            "actor: {holds: [operator]}, update: fw, count: 3, every: 1s",
	scenario.AttackCrossThing:         "actor: {holds: [device_credentials]}, update: fw, report: SUCCEEDED",
	scenario.AttackTakeover:           "actor: {holds: [device_credentials]}, count: 2, every: 5s",
	scenario.AttackGroupPoisoning:     "actor: {holds: [operator]}, group: field",
	scenario.AttackFlashWrite:         "actor: {holds: [flash]}, write: flip, offset: 100",
	scenario.AttackSubscribe:          "actor: {holds: [device_credentials]}, topics: [dt/THING/telemetry]",
	scenario.AttackLeakedURL:          "actor: {holds: [device_credentials]}, update: fw",
	scenario.AttackFlashRead:          "actor: {holds: [flash]}, find: key",
}

// An attack of any type fires when it can: those on an update that does not exist yet wait for it. One that never fired
// fails the run, of whatever type it is; in a scaled fleet it is a note.
func TestAnAttackFiresOrFailsTheRun(t *testing.T) {
	for _, kind := range scenario.AttackTypes() {
		settings := everyAttack[kind]
		require.NotEmpty(t, settings, "no example of %s", kind)
		for _, at := range []string{"1s", "60100ms"} { // before the update, and while it is created
			var sets []string
			if kind == scenario.AttackLeakedURL {
				sets = []string{"updates.fw.protocols=[HTTP]"} // there is no URL by MQTT
			}
			res := attacked(t, "{name: a, type: "+kind+", "+settings+", at: "+at+"}", sets...)
			require.True(t, res.Attacks[0].Fired, "%s at %s: %v", kind, at, res.Notes)
			require.NotContains(t, strings.Join(res.Notes, "\n"), "never fired", "%s at %s", kind, at)
		}
		never := "{name: a, type: " + kind + ", " + settings + ", when: fleet.bricked > 0}"
		res := attacked(t, never)
		require.False(t, res.Attacks[0].Fired, kind)
		require.Equal(t, report.VerdictAssertion, res.Verdict, "%s: %v", kind, res.Notes)
		require.Contains(t, strings.Join(res.Notes, "\n"), `attack "a" never fired`, kind)
	}
	for _, at := range []string{"1ms", "60100ms", "60900ms"} { // not yet signed; being created
		res := attacked(t, "{name: a, type: replace-image, "+everyAttack[scenario.AttackReplaceImage]+", at: "+at+"}", "fleet.defaults.codeSigning=off")
		require.Equal(t, 3, res.Attacks[0].Executed, "at %s: %v", at, res.Notes)
	}
	for _, late := range []string{
		"{name: a, type: replace-image, " + everyAttack[scenario.AttackReplaceImage] + ", at: 10m}", // unpacked
		"{name: a, type: cancel-job, " + everyAttack[scenario.AttackCancelJob] + ", at: 30m}",       // COMPLETED
		"{name: a, type: forge-blocks, " + everyAttack[scenario.AttackForgeBlocks] + ", at: 30m}",   // nothing to forge
		"{name: a, type: block-confirmation, " + everyAttack[scenario.AttackBlockConfirmation] + ", at: 30m}",
		"{name: a, type: suppress, actor: {holds: [broker]}, traffic: reports, for: 1s, at: 1s}",
		"{name: a, type: flash-write, actor: {holds: [flash]}, write: erase, partition: storage}",
		"{name: a, type: tamper-image, actor: {holds: [bucket]}, update: none, offset: 1}", // waits for ever
	} {
		sets := []string{"updates=[{otaUpdateId: fw, at: 1m, firmware: 1.1.0, targets: [field]}, {otaUpdateId: none, at: 1m, targets: [field], file: {size: 4KiB, fileType: 2}}]"}
		res := attacked(t, late, sets...)
		require.Equal(t, report.VerdictAssertion, res.Verdict, "%s: %v", late, res.Notes)
		require.Contains(t, strings.Join(res.Notes, "\n"), `attack "a" never fired`, late)
	}
	res := run(t, load(t, "attacks/T40-arbitrary-software", scenario.Options{Devices: 2, Sets: []string{"variants=[]", "assertions=[{name: nobody is bricked, always: fleet.bricked == 0}]",
		"attacks=[{name: a, type: slow, actor: {holds: [network]}, rate: 64kbps, when: fleet.bricked > 0}]"}}), Options{Workers: 1})
	require.Equal(t, report.VerdictPass, res.Verdict, "%v", res.Notes)
}

// A scenario can plant what is wrong in devices and in the cloud by name, and says so.
func TestPlantedDefects(t *testing.T) {
	res := attacked(t, "{name: a, type: replace-image, "+everyAttack[scenario.AttackReplaceImage]+", at: 1s}", "plantedDefects=[skip-signature]")
	require.Equal(t, report.VerdictSafety, res.Verdict)
	require.Equal(t, 3, res.Attacks[0].Executed)
	require.Contains(t, res.Notes[0], "planted, this is not the system: skip-signature")
	for planted, bytes := range map[string]int{"": 0, "wrong-size": 3} {
		res = run(t, load(t, "attacks/T40-arbitrary-software", scenario.Options{Sets: []string{"variants=[]", "attacks=[]", "assertions=[{name: nobody is bricked, always: fleet.bricked == 0}]",
			"fleet.groups.field.count=3", "plantedDefects=[" + planted + "]"}}), Options{Workers: 1})
		require.Equal(t, bytes, res.Jobs[0].Failed, planted)
	}
}
