package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// attack carries out one attack of the scenario, with no more than its actor holds.
func (o *operator) attack(now time.Duration, index int, a *scenario.Attack) error {
	switch a.Type {
	case scenario.AttackDowngradeReplay:
		// s3:PutObject and iot:CreateOTAUpdate: the old image and the signature that
		// was made when it was released are offered again, by a job like any other.
		return o.createUpdate(now, ota.CreateRequest{OTAUpdateID: attackID(a), Targets: o.targets(a.Targets)}, a.Firmware, index, nil)
	case scenario.AttackTamperImage:
		return o.tamper(index, a)
	}
	return fmt.Errorf("unknown attack type %q", a.Type)
}

// attackID is the otaUpdateId of an attacker's own update.
func attackID(a *scenario.Attack) string { return "attack-" + identifier(a.Name) }

// tamper changes a byte of the payload inside the signed object, which the OTA
// service will unpack and stream with the signature of the original: s3:PutObject
// is enough, because a signed object is named by its key alone.
func (o *operator) tamper(index int, a *scenario.Attack) error {
	return o.rewriteSigned(a.Update, func(signed map[string]json.RawMessage) error {
		var payload []byte
		if err := json.Unmarshal(signed["payload"], &payload); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
		if int(a.Offset) >= len(payload) {
			return fmt.Errorf("offset %d is beyond the image of %d bytes", a.Offset, len(payload))
		}
		payload[a.Offset] ^= a.Xor
		signed["payload"], _ = json.Marshal(base64.StdEncoding.EncodeToString(payload))
		o.tampered = append(o.tampered, tampered{a.Update, index})
		return nil
	})
}

// rewriteSigned changes the signed object of an update in the bucket.
func (o *operator) rewriteSigned(update string, change func(signed map[string]json.RawMessage) error) error {
	job, err := o.cloud.DescribeSigningJob(o.signed[update])
	if err != nil {
		return err
	}
	at := job.SignedObject
	object, err := o.getObject(at.BucketName, at.Key)
	if err != nil {
		return fmt.Errorf("signed object of %s: %w", update, err)
	}
	var signed map[string]json.RawMessage
	if err := json.Unmarshal(object, &signed); err != nil {
		return fmt.Errorf("signed object %s: %w", at.Key, err)
	}
	if err := change(signed); err != nil {
		return fmt.Errorf("signed object %s: %w", at.Key, err)
	}
	changed, err := json.Marshal(signed)
	if err != nil {
		return fmt.Errorf("signed object %s: %w", at.Key, err)
	}
	_, err = o.cloud.PutObject(Epoch.Add(o.now), at.BucketName, at.Key, changed)
	return err
}

// getObject is an S3 GET of the newest version.
func (o *operator) getObject(bucket, key string) ([]byte, error) {
	client, endpoint := o.cloud.S3()
	resp, err := client.Get(endpoint + "/" + bucket + "/" + key) //nolint:noctx // in-process, cannot hang
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s/%s: %s", bucket, key, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// thingOf is the thing name at the end of its ARN.
func thingOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// tampered notes which update an attack has spoilt.
type tampered struct {
	update string
	attack int
}

// attackOf is the attack behind a rollout, -1 if there is none.
func (o *operator) attackOf(r *rollout) int {
	for _, t := range o.tampered {
		if t.update == r.id {
			return t.attack
		}
	}
	return r.attack
}

// ranSince is when a device last started an image of a version, by its own flash.
type ranSince func(device int, version string) (at time.Duration, ok bool)

// attackCounts says how far each attack came, in devices.
func (o *operator) attackCounts(devices []report.Device, ran ranSince) map[string]report.Attack {
	out := map[string]report.Attack{}
	byThing := map[string]int{}
	for i, n := range o.names {
		byThing[n] = i
	}
	state := map[string]*report.Device{}
	for i := range devices {
		state[devices[i].Thing] = &devices[i]
	}
	for i := range o.sc.Attacks {
		out[o.sc.Attacks[i].Name] = report.Attack{Name: o.sc.Attacks[i].Name, Threat: o.sc.Attacks[i].Threat, StoppedAt: map[string]int{}}
	}
	for _, r := range o.runs {
		index := o.attackOf(r)
		if index < 0 {
			continue
		}
		a := out[o.sc.Attacks[index].Name]
		for _, e := range o.list(r.id) {
			thing := thingOf(e.ThingARN)
			a.Launched++
			at, started := ran(byThing[thing], r.version)
			if started && at >= r.created {
				a.Executed++
				if d := state[thing]; d != nil && d.Version == r.version && d.OTAState == "ESP_OTA_IMG_VALID" {
					a.Committed++
					continue
				}
			}
			if gate := o.gate(thing, r.id, started && at >= r.created, e.JobExecutionSummary.Status); gate != "" {
				a.StoppedAt[gate]++
			}
		}
		out[a.Name] = a
	}
	return out
}

// gate names what stopped an image on one device, from the reason that the device
// gave when it reported FAILED (aws/ota-for-aws-iot-embedded-sdk, error codes of
// ota.h and ota_platform_interface.h; the release v3.0.0 prints the whole platform
// word, and aws/amazon-freertos lib/include/aws_ota_agent.h has numbers of its own).
func (o *operator) gate(thing, id string, executed bool, status jobs.Status) string {
	if !status.Terminal() {
		return ""
	}
	x, err := o.cloud.DescribeJobExecution(Epoch.Add(o.now), thing, ota.JobID(id), 0)
	reason := x.StatusDetails.DetailsMap["reason"]
	switch {
	case err != nil || status == jobs.Canceled || status == jobs.Removed:
		return "job"
	case hasAnyPrefix(reason, "0x000000e3", "0x000000e7", "0xe3", "0xe7", "0x01", "0x02"):
		return "signature"
	case strings.HasPrefix(reason, "aborted"):
		return "download"
	case hasAnyPrefix(reason, "rejected: 0x0000000f", "rejected: 0x00000010", "rejected: 0x22", "rejected: 0x23"):
		if executed {
			return "version"
		}
		return "bootloader" // downloaded and verified, but never chosen for boot
	case executed:
		return "self-test"
	}
	return "download"
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
