package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/fxamacker/cbor/v2"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/otasim/otasim/sim/serve"
)

// order is what a child shall do, as JSON in its environment.
type order struct {
	Bare    bool
	Data    string // directory, "" for memory
	Dir     string // for ready.json, cpu.pprof, and the CA of a bare broker
	Image   int
	Block   int
	Stream  string
	Clients int
}

// child serves until SIGTERM, and leaves a CPU profile of the time between SIGUSR1
// and then.
func child(what string) int {
	var o order
	err := json.Unmarshal([]byte(what), &o)
	if err == nil {
		err = o.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		return 1
	}
	return 0
}

func (o *order) serve() error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	start := o.cloud
	if o.Bare {
		start = o.mochi
	}
	closer, err := start()
	if err != nil {
		return err
	}
	profile, err := os.Create(filepath.Join(o.Dir, "cpu.pprof"))
	if err != nil {
		return err
	}
	for s := range signals {
		if s == syscall.SIGTERM {
			break
		}
		if err := pprof.StartCPUProfile(profile); err != nil {
			return err
		}
	}
	pprof.StopCPUProfile()
	if err := profile.Close(); err != nil {
		return err
	}
	return closer()
}

// cloud is what otasim serve is.
func (o *order) cloud() (func() error, error) {
	s, err := serve.Start(serve.Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", Data: o.Data, Quotas: "unlimited"})
	if err != nil {
		return nil, err
	}
	return s.Close, s.WriteReady(filepath.Join(o.Dir, "ready.json"))
}

// mochi is the broker alone, with answers of the right size for each request.
func (o *order) mochi() (func() error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	ready := serve.Ready{CAFile: filepath.Join(o.Dir, "bare-ca.pem")}
	if err := os.WriteFile(ready.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = 1024
	s := mqtt.New(&mqtt.Options{InlineClient: true, Capabilities: caps, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), ClientNetWriteBufferSize: 1024, ClientNetReadBufferSize: 1024,
		SysTopicResendInterval: 1 << 30})
	l := listeners.NewTCP(listeners.Config{ID: "tls", Address: "127.0.0.1:0", TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
		CurvePreferences: []tls.CurveID{tls.CurveP256}, SessionTicketsDisabled: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}})
	hook := &canned{s: s, o: o, image: content(o.Image)}
	for _, err := range []error{s.AddHook(hook, nil), s.AddListener(l), s.Serve()} {
		if err != nil {
			return nil, err
		}
	}
	ready.MQTTS = l.Address()
	b, err := json.Marshal(ready)
	if err != nil {
		return nil, err
	}
	return s.Close, os.WriteFile(filepath.Join(o.Dir, "ready.json"), b, 0o600)
}

// canned answers as the cloud would.
type canned struct {
	mqtt.HookBase
	s     *mqtt.Server
	o     *order
	image []byte
}

// Provides implements mqtt.Hook.
func (c *canned) Provides(what byte) bool {
	return what == mqtt.OnPublish || what == mqtt.OnConnectAuthenticate || what == mqtt.OnACLCheck
}

// OnConnectAuthenticate implements mqtt.Hook: everybody may do everything.
func (c *canned) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck implements mqtt.Hook.
func (c *canned) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnPublish implements mqtt.Hook.
func (c *canned) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	prefix := "$aws/things/" + cl.ID
	rest, ok := strings.CutPrefix(pk.TopicName, prefix)
	if !ok {
		return pk, nil
	}
	switch rest {
	case "/jobs/$next/get":
		_ = c.s.Publish(pk.TopicName+"/accepted", []byte(`{"execution":{"jobId":"load","jobDocument":{"stream":"`+c.o.Stream+`"}}}`), false, 0)
	case "/jobs/load/update":
		_ = c.s.Publish(pk.TopicName+"/accepted", pk.Payload, false, 0)
	case "/streams/" + c.o.Stream + "/get/cbor":
		var want request
		if cbor.Unmarshal(pk.Payload, &want) != nil {
			return pk, packets.ErrRejectPacket
		}
		for i := want.Offset; i < want.Offset+want.Count && i*want.Size < len(c.image); i++ {
			b, err := cbor.Marshal(block{File: 1, Size: want.Size, Index: i, Data: c.image[i*want.Size : min(len(c.image), (i+1)*want.Size)]})
			if err != nil {
				return pk, err
			}
			_ = c.s.Publish(prefix+"/streams/"+c.o.Stream+"/data/cbor", b, false, 0)
		}
	}
	return pk, packets.CodeSuccessIgnore
}
