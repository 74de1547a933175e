package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
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
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// aftermath is how long a run goes on at least after an attack that no job waits for.
const aftermath = 10 * time.Minute

// attack carries out one attack of the scenario, with no more than its actor holds. An
// attack on an update waits until there is what it takes.
func (o *operator) attack(now time.Duration, index int, a *scenario.Attack) error {
	if err := o.launch(now, index, a); err != nil {
		return err
	}
	o.world.linger(now + aftermath)
	return nil
}

// fire notes that an attack was carried out, whatever comes of it. Taps fire with their
// first message, and what happens at a device when it does.
func (o *operator) fire(index int) {
	if o.fired == nil {
		o.fired = map[int]bool{}
	}
	o.fired[index] = true
}

// fires is fire, unless the attack failed.
func (o *operator) fires(index int, err error) error {
	if err == nil {
		o.fire(index)
	}
	return err
}

// offered reports whether an update has its job; the error wraps notYet if it may still come.
func (o *operator) offered(update string) error {
	switch r := o.rollout(update); {
	case r == nil:
		return fmt.Errorf("update %s: %w", update, notYet)
	case r.failed || r.deleted:
		return fmt.Errorf("update %s is gone", update)
	case r.status == "":
		return fmt.Errorf("job of update %s: %w", update, notYet)
	}
	return nil
}

func (o *operator) launch(now time.Duration, index int, a *scenario.Attack) error {
	switch a.Type {
	case scenario.AttackBucketVersion, scenario.AttackStreamSubstitution, scenario.AttackReplayDocument, scenario.AttackEditDocument, scenario.AttackJobSpam,
		scenario.AttackInjectDocument, scenario.AttackCancelJob, scenario.AttackDeleteJob, scenario.AttackCrossThing, scenario.AttackLeakedURL:
		if err := o.offered(a.Update); err != nil {
			return err
		}
	}
	switch a.Type {
	case scenario.AttackDowngradeReplay:
		// s3:PutObject and iot:CreateOTAUpdate: the old image and the signature that
		// was made when it was released are offered again, by a job like any other.
		return o.fires(index, o.createUpdate(now, ota.CreateRequest{OTAUpdateID: attackID(a), Targets: o.attackTargets(index)}, a.Firmware, index, nil))
	case scenario.AttackMaliciousUpdate:
		return o.fires(index, o.maliciousUpdate(now, index, a))
	case scenario.AttackTamperImage, scenario.AttackReplaceImage:
		return o.fires(index, o.tamper(index, a))
	case scenario.AttackBucketVersion, scenario.AttackStreamSubstitution:
		return o.fires(index, o.substitute(now, index, a))
	case scenario.AttackReplayDocument, scenario.AttackEditDocument:
		return o.fires(index, o.offerDocument(now, index, a, ota.JobID(attackID(a))))
	case scenario.AttackJobSpam:
		for n := range a.Count {
			o.task(scenario.Trigger{HasAt: true, At: now + time.Duration(n)*a.Every}, "attack "+a.Name, func(now time.Duration) error {
				return o.fires(index, o.offerDocument(now, index, a, fmt.Sprintf("%s_%d", ota.JobID(attackID(a)), n)))
			})
		}
		return nil
	case scenario.AttackInjectDocument:
		return o.fires(index, o.injectDocument(now, index, a))
	case scenario.AttackForgeBlocks, scenario.AttackManInTheMiddle:
		o.tap(now, index, a)
		return nil
	case scenario.AttackSuppress:
		if slices.Contains(a.Holds, "broker") {
			o.tap(now, index, a)
			return nil
		}
		o.strikeVictims(now, index)
		return nil
	case scenario.AttackSlow, scenario.AttackBlockConfirmation, scenario.AttackWrongTime:
		o.strikeVictims(now, index)
		return nil
	case scenario.AttackCancelJob:
		o.spoil(index, a)
		_, err := o.cloud.CancelJob(Epoch.Add(now), ota.JobID(a.Update), jobs.CancelJobRequest{Force: a.Force})
		return o.fires(index, err)
	case scenario.AttackDeleteJob:
		o.spoil(index, a)
		return o.fires(index, o.cloud.DeleteJob(Epoch.Add(now), ota.JobID(a.Update), a.Force))
	case scenario.AttackCrossThing:
		return o.fires(index, o.crossThing(now, index, a))
	case scenario.AttackTakeover:
		for n := range a.Count {
			o.task(scenario.Trigger{HasAt: true, At: now + time.Duration(n)*a.Every}, "attack "+a.Name, func(now time.Duration) error { return o.fires(index, o.takeOver(now, index, a)) })
		}
		return nil
	case scenario.AttackGroupPoisoning:
		return o.fires(index, each(o.victimNames(index), func(thing string) error {
			o.reach(index, thing, now)
			return o.cloud.AddThingToThingGroup(Epoch.Add(now), thing, a.Group)
		}))
	case scenario.AttackSubscribe:
		return o.spy(now, index, a)
	case scenario.AttackLeakedURL:
		return o.leakURL(now, index, a)
	case scenario.AttackFlashWrite, scenario.AttackFlashRead:
		for _, v := range o.victims(index) {
			o.reach(index, o.names[v], now)
			o.world.tamper(v, index)
		}
		return nil
	}
	return fmt.Errorf("unknown attack type %q", a.Type)
}

// attackID is the otaUpdateId of an attacker's own update.
func attackID(a *scenario.Attack) string { return "attack-" + identifier(a.Name) }

// victims are the devices that an attack aims at.
func (o *operator) victims(index int) []int {
	a := &o.sc.Attacks[index]
	var all []int
	for i := range o.fleet.things {
		if o.names[i] != "" && (slices.Contains(a.Targets, o.names[i]) || slices.Contains(a.Targets, o.fleet.groups[o.fleet.things[i].group].name)) {
			all = append(all, i)
		}
	}
	if a.Fraction == scenario.Million {
		return all
	}
	return fault.Targets(kernel.Seed(o.sc.Seed), "attack "+a.Name, all, a.Fraction)
}

func (o *operator) victimNames(index int) (names []string) {
	for _, v := range o.victims(index) {
		names = append(names, o.names[v])
	}
	return names
}

// attackTargets are the targets of an attacker's job, as ARNs.
func (o *operator) attackTargets(index int) []string {
	if a := &o.sc.Attacks[index]; a.Fraction == scenario.Million {
		return o.targets(a.Targets)
	}
	return o.targets(o.victimNames(index))
}

// reach notes that an attack has got as far as a thing.
func (o *operator) reach(index int, thing string, now time.Duration) {
	if o.struck[index] == nil {
		if o.struck == nil {
			o.struck = map[int]map[string]time.Duration{}
		}
		o.struck[index] = map[string]time.Duration{}
	}
	if _, before := o.struck[index][thing]; !before {
		o.struck[index][thing] = now
	}
}

// spoil notes that an update is no longer the operator's own.
func (o *operator) spoil(index int, a *scenario.Attack) {
	o.tampered = append(o.tampered, tampered{a.Update, index})
}

// signatureFor is the signature that goes with an image in an attack: DER, nil for none.
func (o *operator) signatureFor(a *scenario.Attack, img *firmwareImage) ([]byte, error) {
	var key *ecdsa.PrivateKey
	switch a.Signature {
	case scenario.SignatureNone:
		return nil, nil
	case scenario.SignatureAttacker:
		key = o.forger
	default: // matching: what the release process has published; stolen: what it would
		key = o.private[o.keyOf(img)]
	}
	digest := sha256.Sum256(img.data)
	return key.Sign(nil, digest[:], crypto.SHA256)
}

// maliciousUpdate offers any image by a job of the attacker's own.
func (o *operator) maliciousUpdate(now time.Duration, index int, a *scenario.Attack) error {
	img := o.fleet.imageOf(a.Firmware)
	key := attackID(a) + ".bin"
	if _, err := o.cloud.PutObject(Epoch.Add(now), firmwareBucket, key, img.data); err != nil {
		return err
	}
	signature, err := o.signatureFor(a, img)
	if err != nil {
		return err
	}
	req := ota.CreateRequest{OTAUpdateID: attackID(a), Targets: o.attackTargets(index), RoleARN: "arn:aws:iam::" + o.sc.Cloud.Account + ":" + role,
		Files: []ota.File{{FileName: "/" + key, FileVersion: a.Firmware, FileLocation: &ota.FileLocation{S3Location: &streams.Location{Bucket: firmwareBucket, Key: key}},
			CodeSigning: &ota.CodeSigning{CustomCodeSigning: &ota.CustomCodeSigning{Signature: &ota.Blob{InlineDocument: signature},
				CertificateChain: &ota.CertificateChain{CertificateName: device.LabelCodeSigner}, HashAlgorithm: "SHA256", SignatureAlgorithm: "ECDSA"}}}}}
	if _, err := o.cloud.CreateOTAUpdate(Epoch.Add(now), req); err != nil {
		return err
	}
	o.runs = append(o.runs, &rollout{id: req.OTAUpdateID, version: a.Firmware, created: now, attack: index})
	o.step("attack %s: update created", a.Name)
	return nil
}

// tamper changes the signed object of an update, which the OTA service will unpack
// and stream: a byte of its payload, or all of it. s3:PutObject is enough, because a
// signed object is named by its key alone.
func (o *operator) tamper(index int, a *scenario.Attack) error {
	return o.rewriteSigned(a.Update, func(signed map[string]json.RawMessage) error {
		var payload []byte
		if err := json.Unmarshal(signed["payload"], &payload); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
		if a.Type == scenario.AttackTamperImage {
			if int(a.Offset) >= len(payload) {
				return fmt.Errorf("offset %d is beyond the image of %d bytes", a.Offset, len(payload))
			}
			payload[a.Offset] ^= a.Xor
		} else {
			img := o.fleet.imageOf(a.Firmware)
			payload = img.data
			if a.Signature != scenario.SignatureOriginal {
				signature, err := o.signatureFor(a, img)
				if err != nil {
					return err
				}
				signed["signature"], _ = json.Marshal(base64.StdEncoding.EncodeToString(signature))
			}
			signed["rawPayloadSize"], _ = json.Marshal(len(payload))
		}
		signed["payload"], _ = json.Marshal(base64.StdEncoding.EncodeToString(payload))
		o.spoil(index, a)
		return nil
	})
}

// rewriteSigned changes the signed object of an update in the bucket.
func (o *operator) rewriteSigned(update string, change func(signed map[string]json.RawMessage) error) error {
	if r := o.rollout(update); r != nil && (r.status != "" || r.failed || r.deleted) {
		return fmt.Errorf("too late: the OTA service has unpacked the signed object of %s, and its stream delivers that version", update)
	}
	job, err := o.cloud.DescribeSigningJob(o.signed[update])
	if err != nil {
		return fmt.Errorf("signing job of %s: %w", update, notYet)
	}
	if job.Status == signer.InProgress {
		return fmt.Errorf("signing job of %s is %s: %w", update, job.Status, notYet)
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

// substitute puts other bytes where the stream of an update finds its file: a newer
// version of the same object, or another object by UpdateStream.
func (o *operator) substitute(now time.Duration, index int, a *scenario.Attack) error {
	doc, err := o.document(a.Update)
	if err != nil {
		return err
	}
	if link := placeholderURL(doc); link != "" && a.Type == scenario.AttackBucketVersion {
		o.spoil(index, a)
		bucket, key, _ := strings.Cut(link, "/")
		_, err := o.cloud.PutObject(Epoch.Add(now), bucket, key, o.fleet.imageOf(a.Firmware).data)
		return err
	}
	name, _ := doc["streamname"].(string)
	info, err := o.cloud.DescribeStream(name)
	if err != nil {
		return err
	}
	o.spoil(index, a)
	file := info.Files[0]
	if a.Type == scenario.AttackBucketVersion {
		_, err := o.cloud.PutObject(Epoch.Add(now), file.S3Location.Bucket, file.S3Location.Key, o.fleet.imageOf(a.Firmware).data)
		return err
	}
	key := attackID(a) + ".bin"
	if _, err := o.cloud.PutObject(Epoch.Add(now), firmwareBucket, key, o.fleet.imageOf(a.Firmware).data); err != nil {
		return err
	}
	file.S3Location = streams.Location{Bucket: firmwareBucket, Key: key}
	_, err = o.cloud.UpdateStream(Epoch.Add(now), streams.CreateRequest{StreamID: name, Description: info.Description, Files: []streams.File{file}, RoleARN: info.RoleARN})
	return err
}

// document is the afr_ota part of an update's job document.
func (o *operator) document(update string) (map[string]any, error) {
	text, err := o.cloud.GetJobDocument(ota.JobID(update))
	if err != nil {
		return nil, err
	}
	var doc map[string]map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("job document of %s: %w", update, err)
	}
	return doc["afr_ota"], nil
}

// edited is the job document of an update with the attack's edits.
func (o *operator) edited(a *scenario.Attack) (string, error) {
	doc, err := o.document(a.Update)
	if err != nil {
		return "", err
	}
	files, _ := doc["files"].([]any)
	if len(files) == 0 {
		return "", fmt.Errorf("job document of %s has no file", a.Update)
	}
	file, _ := files[0].(map[string]any)
	for _, e := range a.Edits {
		into := file
		if e.Key == "streamname" || e.Key == "protocols" {
			into = doc
		}
		if e.Value == nil {
			delete(into, e.Key)
			continue
		}
		into[e.Key] = e.Value
	}
	text, err := json.Marshal(map[string]any{"afr_ota": doc})
	return string(text), err
}

// offerDocument creates a job with a recorded document, as it was or edited.
func (o *operator) offerDocument(now time.Duration, index int, a *scenario.Attack, job string) error {
	doc, err := o.edited(a)
	if err != nil {
		return err
	}
	if _, err := o.cloud.CreateJob(Epoch.Add(now), jobs.CreateJobRequest{JobID: job, Targets: o.attackTargets(index), Document: doc}); err != nil {
		return err
	}
	version := a.Firmware
	if r := o.rollout(a.Update); r != nil && version == "" {
		version = r.version
	}
	o.runs = append(o.runs, &rollout{id: strings.TrimPrefix(job, ota.JobID("")), version: version, created: now, attack: index})
	o.step("attack %s: job %s created", a.Name, job)
	return nil
}

// injectDocument tells devices of a job that the Jobs service knows nothing of.
func (o *operator) injectDocument(now time.Duration, index int, a *scenario.Attack) error {
	doc, err := o.edited(a)
	if err != nil {
		return err
	}
	doc = o.presigned(doc, Epoch.Add(now-a.Age), o.urlLife(a.Update))
	at, heard := Epoch.Add(now), false
	for _, thing := range o.victimNames(index) {
		payload := fmt.Sprintf(`{"timestamp":%d,"execution":{"jobId":%q,"status":"QUEUED","queuedAt":%d,"lastUpdatedAt":%d,"versionNumber":1,"executionNumber":1,"jobDocument":%s}}`,
			at.Unix(), ota.JobID(attackID(a)), at.Unix(), at.Unix(), doc)
		if o.cloud.Inject(at, protocol.JobsNotifyNext(thing), []byte(payload)) {
			o.reach(index, thing, now)
			heard = true
		}
	}
	if !heard {
		return fmt.Errorf("no target listens: %w", notYet)
	}
	return nil
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
		out[o.sc.Attacks[i].Name] = report.Attack{Name: o.sc.Attacks[i].Name, Threat: o.sc.Attacks[i].Threat, Fired: o.fired[i], StoppedAt: map[string]int{}}
	}
	for index, things := range o.sc.Attacks {
		if len(o.struck[index]) > 0 {
			a := out[things.Name]
			o.countReached(&a, index, state, byThing, ran)
			out[things.Name] = a
		}
	}
	for _, r := range o.runs {
		index := o.attackOf(r)
		if index < 0 || len(o.struck[index]) > 0 {
			continue
		}
		a := out[o.sc.Attacks[index].Name]
		for _, e := range o.list(r.id) {
			thing := thingOf(e.ThingARN)
			a.Launched++
			version := r.version
			if v := o.sc.Attacks[index].Firmware; v != "" {
				version = v // a job of the operator's, spoilt
			}
			at, started := ran(byThing[thing], version)
			if started && at >= r.created {
				a.Executed++
				if d := state[thing]; d != nil && d.Version == version && d.OTAState == "ESP_OTA_IMG_VALID" {
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

// countReached says how far an attack came that had no job of its own.
func (o *operator) countReached(a *report.Attack, index int, state map[string]*report.Device, byThing map[string]int, ran ranSince) {
	version := o.sc.Attacks[index].Firmware
	for thing, since := range o.struck[index] {
		a.Launched++
		if version == "" || reads(&o.sc.Attacks[index]) {
			continue
		}
		at, started := ran(byThing[thing], version)
		if started && at >= since {
			a.Executed++
			if d := state[thing]; d != nil && d.Version == version && d.OTAState == "ESP_OTA_IMG_VALID" {
				a.Committed++
			}
			continue
		}
		a.StoppedAt["bootloader"]++
	}
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
	case hasAnyPrefix(reason, "rejected: 0x0000000f", "rejected: 0x00000010", "rejected: 0x00000011", "rejected: 0x22", "rejected: 0x23"):
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
