package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/sim/scenario"
)

// claimName is the name under which an attack holds the certificate that all devices of a batch leave the factory with, good
// for provisioning alone unless cloud.policy is open.
const claimName = "claim"

// claim makes that certificate.
func (o *operator) claim() error {
	at, policy := Epoch.Add(o.now), o.cloud.ClaimPolicy("fleet")
	if o.sc.Cloud.Open {
		policy = openPolicy
	}
	der, _, err := o.cloud.PKI().Device(claimName)
	if err != nil {
		return err
	}
	cert, err := o.cloud.RegisterCertificateWithoutCA(at, der, registry.Active)
	if err != nil {
		return err
	}
	if _, err := o.cloud.CreatePolicy(at, "claim", policy); err != nil {
		return err
	}
	return o.cloud.AttachPolicy(at, "claim", cert.CertificateARN)
}

// spy connects with the credentials of a thing, or with a claim certificate, subscribes to topics of the targets and
// reads what comes.
func (o *operator) spy(now time.Duration, index int, a *scenario.Attack) error {
	victims := o.victimNames(index)
	as := a.As
	if as == "" {
		as = claimName
		if err := o.claim(); err != nil {
			return err
		}
	}
	at, accepted, asked := Epoch.Add(now), 0, 0
	for _, topic := range topicsOf(a.Topics, victims) {
		asked++
		// A name of the attacker's own does not end the connection of the device; if the policy wants its name, so be it.
		conn, ok, err := o.rogue(now, as, fmt.Sprintf("spy-%d-%d", index, asked))
		if err == nil && !ok {
			conn, ok, err = o.rogue(now, as, as)
		}
		switch {
		case err != nil:
			return err
		case !ok:
			continue
		}
		o.cloud.Receive(at, conn, protocol.Encode(&protocol.Packet{Type: protocol.Subscribe, PacketID: 1, Filters: []protocol.Filter{{Topic: topic}}}))
		heard := false
		for _, f := range o.world.replies(conn) {
			var p protocol.Packet
			if f.Kind == protocol.FrameMQTT && protocol.Decode(f, &p) == nil && p.Type == protocol.Suback {
				heard = len(p.Codes) == 1 && p.Codes[0] != protocol.SubackFailure
			}
		}
		if !heard {
			o.cloud.Drop(at, conn)
			o.world.replies(conn)
			continue
		}
		accepted++
		o.world.listen(conn, func(f protocol.Frame) { o.overheard(index, victims, f) })
	}
	for _, thing := range victims {
		o.reach(index, thing, now)
	}
	o.fire(index)
	o.notes = append(o.notes, fmt.Sprintf("attack %s: %d of %d subscriptions were accepted", a.Name, accepted, asked))
	o.passed(index, accepted)
	return nil
}

// topicsOf puts the names of things into the topics that have a place for them.
func topicsOf(topics, things []string) (out []string) {
	for _, t := range topics {
		if !strings.Contains(t, "THING") {
			out = append(out, t)
			continue
		}
		for _, thing := range things {
			out = append(out, strings.ReplaceAll(t, "THING", thing))
		}
	}
	return out
}

// overheard looks whose message an attacker got.
func (o *operator) overheard(index int, victims []string, f protocol.Frame) {
	var p protocol.Packet
	if f.Kind != protocol.FrameMQTT || protocol.Decode(f, &p) != nil || p.Type != protocol.Publish {
		return
	}
	for _, thing := range victims {
		if strings.Contains(p.Topic+"/", "/"+thing+"/") || bytes.Contains(p.Payload, []byte(thing)) {
			o.leak(index, thing)
		}
	}
}

// leak notes that an attack has read what belongs to a thing.
func (o *operator) leak(index int, thing string) {
	if o.leaked == nil {
		o.leaked = map[leak]bool{}
	}
	o.leaked[leak{index, thing}] = true
}

// leakURL asks for the job document in the name of each target, which gives a presigned URL, and fetches what it names
// later, from somewhere else.
func (o *operator) leakURL(now time.Duration, index int, a *scenario.Attack) error {
	for _, thing := range o.victimNames(index) {
		conn, ok, err := o.rogue(now, thing, thing)
		if err != nil || !ok {
			return err
		}
		at, topic := Epoch.Add(now), protocol.JobsGet(thing, ota.JobID(a.Update))
		o.cloud.Receive(at, conn, protocol.Encode(&protocol.Packet{Type: protocol.Subscribe, PacketID: 1, Filters: []protocol.Filter{{Topic: topic + "/accepted"}}}))
		o.cloud.Receive(at, conn, protocol.EncodePublish(topic, 0, false, false, 0, []byte(`{"includeJobDocument":true}`)))
		link := ""
		for _, f := range o.world.replies(conn) {
			var p protocol.Packet
			if f.Kind == protocol.FrameMQTT && protocol.Decode(f, &p) == nil && p.Type == protocol.Publish {
				link = dataURL(p.Payload)
			}
		}
		o.cloud.Drop(at, conn)
		o.world.replies(conn)
		if link == "" {
			continue
		}
		o.reach(index, thing, now)
		o.fire(index)
		o.task(scenario.Trigger{HasAt: true, At: now + max(a.For, time.Millisecond)}, "attack "+a.Name, func(now time.Duration) error {
			status, body := o.world.fetch(now, link)
			other, _ := o.world.fetch(now, strings.Replace(link, ".bin", ".bim", 1)) // the same signature for another key
			if status == http.StatusOK && len(body) > 0 || other == http.StatusOK {
				o.leak(index, thing)
			}
			o.notes = append(o.notes, fmt.Sprintf("attack %s: the URL gives status %d, another key with its signature %d", a.Name, status, other))
			return nil
		})
	}
	return nil
}

// dataURL is where the document of an execution says its file is, "" if it does not.
func dataURL(payload []byte) string {
	var got struct {
		Execution struct {
			JobDocument struct {
				OTA struct {
					Files []struct {
						URL string `json:"update_data_url"`
					} `json:"files"`
				} `json:"afr_ota"`
			} `json:"jobDocument"`
		} `json:"execution"`
	}
	if json.Unmarshal(payload, &got) != nil || len(got.Execution.JobDocument.OTA.Files) == 0 {
		return ""
	}
	return got.Execution.JobDocument.OTA.Files[0].URL
}

// fetch is a GET of a URL by nobody in particular.
func (s *storefront) fetch(now time.Time, link string) (status int, body []byte) {
	u, err := url.Parse(link)
	if err != nil {
		return 0, nil
	}
	f, _, ok := s.answer(now, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.RequestURI(), u.Host))
	if !ok {
		return 0, nil
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(f.Head)), nil)
	if err != nil {
		return 0, nil
	}
	_ = r.Body.Close()
	return r.StatusCode, f.Body
}

// presigned puts URLs into a document that were presigned some time ago.
func (o *operator) presigned(doc string, signed time.Time, life time.Duration) string {
	const open = "${aws:iot:s3-presigned-url:"
	for {
		before, rest, ok := strings.Cut(doc, open)
		link, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return doc
		}
		s3 := s3Options(o.sc.Cloud.Region, o.fleet.seed)
		made, err := api.Presigner("https://"+s3Host(s3.Region), s3)(signed, link, life)
		if err != nil {
			return doc
		}
		doc = before + made + after // the agent takes the text as it is, so nothing in it may be escaped
	}
}

// urlLife is how long the presigned URLs of an update are good.
func (o *operator) urlLife(update string) time.Duration {
	for i := range o.sc.Updates {
		if u := &o.sc.Updates[i]; u.OTAUpdateID == update && u.PresignedExpires > 0 {
			return u.PresignedExpires
		}
	}
	return time.Hour
}

// placeholderURL is where the file of a job document by HTTP lies: bucket/key, "" in one without.
func placeholderURL(doc map[string]any) string {
	files, _ := doc["files"].([]any)
	if len(files) == 0 {
		return ""
	}
	file, _ := files[0].(map[string]any)
	link, _ := file["update_data_url"].(string)
	_, link, _ = strings.Cut(link, ".amazonaws.com/")
	return strings.TrimSuffix(link, "}")
}
