package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/streams"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/scenario"
)

// dataFile is the file of one update that has bytes of its own.
type dataFile struct {
	update    string // otaUpdateId
	partition string // where devices put it, "" if nowhere
	data      []byte
	sum       [sha256.Size]byte
}

// dataFiles reads or makes the bytes of every update that has its own.
func dataFiles(sc *scenario.Scenario, seed kernel.Seed) (out []dataFile, err error) {
	for i := range sc.Updates {
		u := &sc.Updates[i]
		if !u.File.Own() {
			continue
		}
		f := dataFile{update: u.OTAUpdateID, partition: u.File.Partition}
		if u.File.Path != "" {
			if f.data, err = os.ReadFile(u.File.Path); err != nil {
				return nil, fmt.Errorf("update %s: %w", u.OTAUpdateID, err)
			}
		} else {
			f.data = make([]byte, u.File.Size)
			r := seed.Stream("file/" + u.OTAUpdateID)
			for k := range f.data {
				f.data[k] = byte(r.Below(256))
			}
		}
		f.sum = sha256.Sum256(f.data)
		out = append(out, f)
	}
	return out, nil
}

func (f *fleet) fileOf(update string) *dataFile {
	for i := range f.files {
		if f.files[i].update == update {
			return &f.files[i]
		}
	}
	return nil
}

// holds says which updates' files a device has in their partitions: bit i stands for the i-th file.
func (f *fleet) holds(a *actor) (mask uint64) {
	for i := range f.files {
		d := &f.files[i]
		if d.partition == "" || i >= 64 {
			continue
		}
		if sum, ok := check.PartitionSum(a.dev.Flash(), a.dev.Memory(), f.groups[a.group].tableOffset, d.partition, uint32(len(d.data))); ok && sum == d.sum {
			mask |= 1 << i
		}
	}
	return mask
}

// held lists the otaUpdateIds of a mask.
func (f *fleet) held(mask uint64) (ids []string) {
	for i := range f.files {
		if mask>>i&1 == 1 {
			ids = append(ids, f.files[i].update)
		}
	}
	return ids
}

// partitions are the SHA-256 of the partitions that updates are about.
func (w *world) partitions(a *actor) map[string]string {
	if len(w.fleet.files) == 0 {
		return nil
	}
	out := map[string]string{}
	for i := range w.fleet.files {
		label := w.fleet.files[i].partition
		if label == "" || out[label] != "" {
			continue
		}
		if sum, ok := check.PartitionSum(a.dev.Flash(), a.dev.Memory(), w.fleet.groups[a.group].tableOffset, label, 0); ok {
			out[label] = hex.EncodeToString(sum[:])
		}
	}
	return out
}

// file is the files entry of CreateOTAUpdate for an update that says more than its firmware.
func (o *operator) file(now time.Duration, u *scenario.Update) (ota.File, error) {
	f := u.File
	out := ota.File{FileName: f.FileName, FileType: f.FileType, FileVersion: u.Firmware}
	key, version := objectKey(u.Firmware), ""
	if f.Own() {
		key = "files/" + u.OTAUpdateID
		var err error
		if version, err = o.cloud.PutObject(Epoch.Add(now), firmwareBucket, key, o.fleet.fileOf(u.OTAUpdateID).data); err != nil {
			return out, err
		}
	}
	if !f.HasName {
		out.FileName = "/" + key
	}
	out.FileLocation = &ota.FileLocation{S3Location: &streams.Location{Bucket: firmwareBucket, Key: key, Version: version}}
	switch {
	case f.Custom != nil:
		out.CodeSigning = &ota.CodeSigning{CustomCodeSigning: &ota.CustomCodeSigning{Signature: &ota.Blob{InlineDocument: []byte(f.Custom.Signature)},
			CertificateChain: &ota.CertificateChain{CertificateName: f.Custom.CertificateName},
			HashAlgorithm:    f.Custom.HashAlgorithm, SignatureAlgorithm: f.Custom.SignatureAlgorithm}}
	case f.Signature == "none":
	case f.Own():
		profile := o.keys[defaultKey]
		if len(o.sc.Keys) > 0 {
			profile = o.keys[o.sc.Keys[0].Name]
		}
		out.CodeSigning = &ota.CodeSigning{StartSigningJobParameter: &ota.StartSigningJobParameter{SigningProfileName: profile,
			Destination: &ota.Destination{S3Destination: &ota.S3Destination{Bucket: firmwareBucket, Prefix: "signed/"}}}}
	default:
		out.CodeSigning = &ota.CodeSigning{AWSSignerJobID: o.signed[u.OTAUpdateID]}
		if f.Signature == "corrupt" {
			return out, o.corruptSignature(u.OTAUpdateID)
		}
	}
	return out, nil
}

// corruptSignature exchanges letters of the signature in the signed object, as the vendor's test does: A with Z, B with Y.
func (o *operator) corruptSignature(update string) error {
	return o.rewriteSigned(update, func(signed map[string]json.RawMessage) error {
		text := signed["signature"]
		for i, c := range text {
			if c >= 'A' && c <= 'M' {
				text[i] = 'Z' - (c - 'A')
			}
		}
		return nil
	})
}
