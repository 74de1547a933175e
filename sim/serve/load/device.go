package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/fxamacker/cbor/v2"
)

// request and block are what a device and a stream say, in CBOR.
type request struct {
	Token  string `cbor:"c"`
	File   int    `cbor:"f"`
	Size   int    `cbor:"l"`
	Offset int    `cbor:"o"`
	Count  int    `cbor:"n"`
}

type block struct {
	File  int    `cbor:"f"`
	Size  int    `cbor:"l"`
	Index int    `cbor:"i"`
	Data  []byte `cbor:"p"`
}

// content is an image of a size.
func content(size int) []byte {
	b := make([]byte, size)
	chance := rand.NewChaCha8([32]byte{1})
	_, _ = chance.Read(b) // never fails
	return b
}

// patience is how long a device waits before it asks again.
const patience = 20 * time.Second

// device is one client.
type device struct {
	name   string
	config *tls.Config
	client paho.Client
	heard  chan paho.Message
	counts *counts
}

// counts are over all devices.
type counts struct {
	connected, blocks, again, transitions, done, lost atomic.Int64
}

func (d *device) connect(ctx context.Context, address string) error {
	d.heard = make(chan paho.Message, 256)
	o := paho.NewClientOptions().AddBroker("tls://" + address).SetClientID(d.name).SetCleanSession(true).SetAutoReconnect(false).SetConnectTimeout(2 * time.Minute).
		SetKeepAlive(15 * time.Minute).SetTLSConfig(d.config).SetProtocolVersion(4).SetOrderMatters(true)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		select {
		case d.heard <- m:
		default: // asked for again
		}
	})
	o.SetConnectionLostHandler(func(paho.Client, error) { d.counts.lost.Add(1) })
	d.client = paho.NewClient(o)
	if err := wait(ctx, d.client.Connect()); err != nil {
		return fmt.Errorf("%s: connect: %w", d.name, err)
	}
	d.counts.connected.Add(1)
	return nil
}

func wait(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask publishes a request, if there is a topic for it, until the answer on another
// topic comes.
func (d *device) ask(ctx context.Context, topic string, payload []byte, answer string) ([]byte, error) {
	for range 30 {
		if topic != "" {
			if err := wait(ctx, d.client.Publish(topic, 1, false, payload)); err != nil {
				return nil, err
			}
		}
		for limit := time.After(patience); ; {
			select {
			case m := <-d.heard:
				if m.Topic() == answer {
					return m.Payload(), nil
				}
				if strings.HasSuffix(m.Topic(), "/rejected") {
					return nil, fmt.Errorf("%s: %s: %s", d.name, m.Topic(), m.Payload())
				}
				continue
			case <-limit:
				d.counts.again.Add(1)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			break
		}
	}
	return nil, fmt.Errorf("%s: nothing on %s", d.name, answer)
}

// update does the job: from the notification to SUCCEEDED.
func (d *device) update(ctx context.Context, set settings, sum [32]byte) error {
	jobs := "$aws/things/" + d.name + "/jobs/"
	listen := jobs + "notify-next"
	if set.bare { // which answers only those who subscribe
		listen = jobs + "#"
	}
	if err := wait(ctx, d.client.Subscribe(listen, 1, nil)); err != nil {
		return err
	}
	var next struct {
		Execution struct {
			JobID    string
			Document struct{ Stream string } `json:"jobDocument"`
		}
	}
	b, err := d.ask(ctx, jobs+"$next/get", []byte("{}"), jobs+"$next/get/accepted")
	for err == nil {
		if err = json.Unmarshal(b, &next); err != nil || next.Execution.JobID != "" {
			break
		}
		b, err = d.ask(ctx, "", nil, jobs+"notify-next") // the job's turn comes
	}
	if err != nil {
		return err
	}
	job := jobs + next.Execution.JobID + "/update"
	report := func(status string) error {
		_, err := d.ask(ctx, job, []byte(`{"status":"`+status+`"}`), job+"/accepted")
		if err == nil {
			d.counts.transitions.Add(1)
		}
		return err
	}
	if err := report("IN_PROGRESS"); err != nil {
		return err
	}
	image, err := d.fetch(ctx, set, "$aws/things/"+d.name+"/streams/"+next.Execution.Document.Stream)
	if err != nil {
		return err
	}
	if sha256.Sum256(image) != sum {
		return fmt.Errorf("%s: %w", d.name, errors.New("the image is another one"))
	}
	if err := report("SUCCEEDED"); err != nil {
		return err
	}
	d.counts.done.Add(1)
	return nil
}

// fetch asks for the blocks of the image, some at a time.
func (d *device) fetch(ctx context.Context, set settings, stream string) ([]byte, error) {
	if err := wait(ctx, d.client.Subscribe(stream+"/data/cbor", 0, nil)); err != nil {
		return nil, err
	}
	image, total := make([]byte, set.image), (set.image+set.block-1)/set.block
	have := make([]bool, total)
	for at := 0; at < total; {
		want := request{Token: "load", File: 1, Size: set.block, Offset: at, Count: min(set.window, total-at)}
		payload, err := cbor.Marshal(want)
		if err != nil {
			return nil, err
		}
		if err := wait(ctx, d.client.Publish(stream+"/get/cbor", 0, false, payload)); err != nil {
			return nil, err
		}
		limit := time.NewTimer(patience)
		for missing := true; missing; {
			select {
			case m := <-d.heard:
				var b block
				if !strings.HasSuffix(m.Topic(), "/data/cbor") || cbor.Unmarshal(m.Payload(), &b) != nil || b.Index < 0 || b.Index >= total || have[b.Index] {
					continue
				}
				have[b.Index] = true
				copy(image[b.Index*set.block:], b.Data)
				d.counts.blocks.Add(1)
				for at < total && have[at] {
					at++
				}
				missing = at < want.Offset+want.Count
			case <-limit.C:
				d.counts.again.Add(1)
				missing = false
			case <-ctx.Done():
				limit.Stop()
				return nil, ctx.Err()
			}
		}
		limit.Stop()
		if !d.client.IsConnectionOpen() {
			return nil, fmt.Errorf("%s: the connection is lost after %d blocks", d.name, at)
		}
	}
	return image, nil
}
