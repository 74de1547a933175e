package pal

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/otaops"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// board makes a chip with a table and two otadata records, running from ota_0.
func board(t *testing.T, records ...otadata.Entry) (*PAL, *partition.Record) {
	return boardOf(t, bootloader.AFR2022, records...)
}

func boardOf(t *testing.T, kind bootloader.Kind, records ...otadata.Entry) (*PAL, *partition.Record) {
	chip, _ := flashmodel.ChipByName("4MB")
	f := flashmodel.New(flashmodel.NewStore(), chip)
	table, err := partition.Builtin("partitions_two_ota_large.csv")
	require.NoError(t, err)
	raw, err := table.Encode(true)
	require.NoError(t, err)
	require.NoError(t, f.Load(partition.DefaultOffset, raw))
	data, ok := table.FindFirst(partition.TypeData, partition.SubtypeOTAData)
	require.True(t, ok)
	for i, e := range records {
		cells := e.Encode()
		require.NoError(t, f.Load(data.Offset+uint32(i)*otadata.SectorSize, cells[:]))
	}
	slot, ok := table.FindFirst(partition.TypeApp, partition.SubtypeOTA)
	require.True(t, ok)
	cfg := &bootloader.Config{Kind: kind, Rollback: true, FlashSize: 4 << 20}
	return &PAL{Ops: otaops.New(f, new(efuse.EFuse), cfg, slot), Flash: f}, &data
}

func record(t *testing.T, p *PAL, data *partition.Record, i uint32) otadata.Entry {
	var raw [otadata.EntrySize]byte
	require.NoError(t, p.Flash.Read(data.Offset+i*otadata.SectorSize, raw[:]))
	e, err := otadata.Decode(raw[:])
	require.NoError(t, err)
	return e
}

func TestStateOfRunningImage(t *testing.T) {
	for _, c := range []struct {
		state otadata.ImageState
		want  agent.PlatformState
	}{
		{otadata.New, agent.PlatformValid}, {otadata.PendingVerify, agent.PlatformPendingCommit}, {otadata.Valid, agent.PlatformValid},
		{otadata.Invalid, agent.PlatformInvalid}, {otadata.Aborted, agent.PlatformInvalid}, {otadata.Undefined, agent.PlatformInvalid},
	} {
		p, _ := board(t, otadata.Make(1, c.state))
		require.Equal(t, c.want, p.State(), "%v", c.state)
	}
}

// The port of 2018 looks at sequence numbers and not at states: after a rollback it takes the refused record for its own.
func TestStateBlind2018(t *testing.T) {
	for _, c := range []struct {
		kind bootloader.Kind
		want agent.PlatformState
	}{{bootloader.AFR2018, agent.PlatformInvalid}, {bootloader.AFR2022, agent.PlatformValid}} {
		p, _ := boardOf(t, c.kind, otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Aborted))
		require.Equal(t, c.want, p.State(), "%v", c.kind)
	}
	p, data := boardOf(t, bootloader.AFR2018, otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.PendingVerify))
	require.Equal(t, agent.PlatformPendingCommit, p.State(), "the older firmware runs, the record of the newer one counts")
	_, decided := p.SetState(agent.ImageAccepted)
	require.True(t, decided)
	require.Equal(t, otadata.Make(2, otadata.Valid), record(t, p, data, 1), "the failed image is marked VALID")
}

// B8: the largest file leaves room for the trailer. The ports erase the slot and notice after the last block.
func TestTrailerRoom(t *testing.T) {
	p, _ := board(t, otadata.Make(1, otadata.Valid))
	slot, err := p.Ops.NextUpdate(nil)
	require.Equal(t, otaops.OK, err)
	fits, over := &agent.File{Size: slot.Size - TrailerSize}, &agent.File{Size: slot.Size - TrailerSize + 1}
	require.Zero(t, p.Create(over))
	wear := p.Flash.Stats().SectorsErased
	p.KeepsTrailerRoom = true
	require.Equal(t, agent.PALFileTooLarge, p.Create(over))
	require.Equal(t, wear, p.Flash.Stats().SectorsErased)
	require.Zero(t, p.Create(fits))
}

// B9: with code signing off, what is no signature cannot be laid out as the trailer of secure boot. The ports take the image for
// valid all the same.
func TestTrailerOfNoDER(t *testing.T) {
	whole, err := asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(7), big.NewInt(9)})
	require.NoError(t, err)
	for _, c := range []struct {
		name              string
		signature         []byte
		checks, of2018    bool
		main              uint32
		valid, hasTrailer bool
	}{
		{"DER", whole, true, false, 0, true, true},
		{"no DER", []byte("signed, honestly"), false, false, 0, true, false},
		{"no DER, 2018", []byte("signed, honestly"), false, true, agent.PALBadSignerCert.Main(), true, false},
		{"no DER, checked", []byte("signed, honestly"), true, false, agent.PALSignature.Main(), false, false},
		{"more than DER", append(whole[:len(whole):len(whole)], 1), false, false, 0, true, true},
		{"more than DER, checked", append(whole[:len(whole):len(whole)], 1), true, false, agent.PALSignature.Main(), false, false},
	} {
		p, _ := board(t, otadata.Make(1, otadata.Valid))
		p.AnySignature, p.ChecksTrailer, p.Of2018 = true, c.checks, c.of2018
		f := &agent.File{Size: 256, Signature: c.signature}
		require.Zero(t, p.Create(f))
		require.Equal(t, 256, p.Write(0, make([]byte, 256)))
		require.Equal(t, c.main, p.Close(f, nil).Main(), c.name)
		require.Equal(t, c.valid, p.valid, c.name)
		var behind [TrailerSize]byte
		require.NoError(t, p.Flash.Read(p.slot.Offset+256, behind[:]))
		require.Equal(t, c.hasTrailer, behind[0] == 0, c.name)
	}
}

// B4, platform part: the port of 2018 erases the older firmware while the new one is on trial.
func TestCreateDuringTrial(t *testing.T) {
	for _, c := range []struct {
		kind bootloader.Kind
		want agent.PALStatus
	}{{bootloader.AFR2018, 0}, {bootloader.AFR2022, agent.PALFileCreate}} {
		p, _ := boardOf(t, c.kind, otadata.Make(1, otadata.PendingVerify))
		require.Equal(t, c.want, p.Create(&agent.File{Size: 1000}), "%v", c.kind)
	}
}

func TestSetState(t *testing.T) {
	p, data := board(t, otadata.Make(1, otadata.PendingVerify))
	status, decided := p.SetState(agent.ImageTesting)
	require.Zero(t, status)
	require.False(t, decided)
	status, decided = p.SetState(agent.ImageAccepted)
	require.Zero(t, status)
	require.True(t, decided)
	require.Equal(t, otadata.Make(1, otadata.Valid), record(t, p, data, 0))
	// Decided already: success without a write.
	wear := p.Flash.Stats()
	status, decided = p.SetState(agent.ImageAccepted)
	require.Zero(t, status)
	require.False(t, decided)
	require.Equal(t, wear, p.Flash.Stats())

	p, data = board(t, otadata.Make(1, otadata.PendingVerify))
	_, decided = p.SetState(agent.ImageRejected)
	require.True(t, decided)
	require.Equal(t, otadata.Invalid, record(t, p, data, 0).State)

	p, _ = board(t, otadata.Make(1, otadata.Undefined))
	status, _ = p.SetState(agent.ImageAccepted)
	require.Equal(t, agent.PALCommitFailed, status)
	status, _ = p.SetState(agent.ImageUnknown)
	require.Equal(t, agent.PALBadImageState, status)

	// After a transfer the other record is meant, even after Abort.
	p, data = board(t, otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Aborted))
	require.Zero(t, p.Create(&agent.File{}))
	require.Equal(t, 4, p.Write(0, []byte{1, 2, 3, 4}))
	require.Equal(t, agent.PlatformInvalid, p.State())
	p.Abort()
	status, _ = p.SetState(agent.ImageAccepted)
	require.Equal(t, agent.PALCommitFailed, status, "nothing verified")
	status, decided = p.SetState(agent.ImageRejected)
	require.Zero(t, status)
	require.False(t, decided)
	require.Equal(t, otadata.Make(1, otadata.Valid), record(t, p, data, 0))
	require.Equal(t, otadata.Invalid, record(t, p, data, 1).State)
}

func TestNoUpdateOnTrial(t *testing.T) {
	p, _ := board(t, otadata.Make(1, otadata.PendingVerify))
	require.Equal(t, agent.PALFileCreate, p.Create(&agent.File{}))
}

func TestClose(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	content := make([]byte, 6000)
	sum := sha256.Sum256(content)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	require.NoError(t, err)
	file := &agent.File{Signature: sig, Size: 6000}
	write := func(p *PAL) {
		require.Zero(t, p.Create(file))
		require.Equal(t, 1904, p.Write(4096, content[4096:]))
		require.Equal(t, 4096, p.Write(0, content[:4096]))
	}
	for name, signer := range map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})} {
		p, _ := board(t, otadata.Make(1, otadata.Valid))
		write(p)
		require.Zero(t, p.Close(file, signer), name)
		require.Equal(t, agent.PlatformValid, p.State())
		got := make([]byte, TrailerSize)
		require.NoError(t, p.Flash.Read(p.Slot().Offset+6000, got))
		var rs struct{ R, S *big.Int }
		_, err = asn1.Unmarshal(sig, &rs)
		require.NoError(t, err)
		require.Zero(t, rs.R.Cmp(new(big.Int).SetBytes(got[4:36])))
		require.Zero(t, rs.S.Cmp(new(big.Int).SetBytes(got[36:68])))
	}
	for name, c := range map[string]struct{ sig, signer []byte }{
		"no signature": {nil, der}, "no certificate": {sig, nil}, "certificate cut": {sig, der[:50]}, "signature cut": {sig[:20], der},
	} {
		p, _ := board(t, otadata.Make(1, otadata.Valid))
		write(p)
		require.Equal(t, agent.PALSignature, p.Close(&agent.File{Signature: c.sig, Size: 6000}, c.signer), name)
		require.Equal(t, agent.PALFileClose, p.Close(file, der), "closed already")
		if c.sig != nil {
			var first [1]byte
			require.NoError(t, p.Flash.Read(p.Slot().Offset, first[:]))
			require.Equal(t, byte(0xff), first[0], "%s: the slot is erased", name)
		}
	}
	p, _ := board(t, otadata.Make(1, otadata.Valid))
	require.Zero(t, p.Create(file))
	require.Equal(t, agent.PALSignature, p.Close(file, der), "nothing written")
	require.Equal(t, -1, p.Write(0, content), "no file")
}

func TestSlotTooSmallForTrailer(t *testing.T) {
	p, _ := board(t, otadata.Make(1, otadata.Valid))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	file := &agent.File{}
	require.Zero(t, p.Create(file))
	whole := make([]byte, p.Slot().Size)
	sum := sha256.Sum256(whole)
	file.Signature, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
	require.NoError(t, err)
	require.Equal(t, -1, p.Write(4, whole), "behind the end of the slot")
	require.Equal(t, len(whole), p.Write(0, whole))
	require.Equal(t, agent.PALFileClose, p.Close(file, der))
}

// TestUnnamedState: a torn program left a state without a name. The ports decide a trial only; TestsUnnamed decides this too,
// if the record counts at all.
func TestUnnamedState(t *testing.T) {
	torn := otadata.Make(2, 0xfff0ffff)
	p, data := board(t, otadata.Make(1, otadata.Valid), torn)
	status, decided := p.SetState(agent.ImageAccepted)
	require.Equal(t, agent.PALCommitFailed, status)
	require.False(t, decided)
	require.Equal(t, torn, record(t, p, data, 1))
	p.TestsUnnamed = true
	status, decided = p.SetState(agent.ImageAccepted)
	require.Zero(t, status)
	require.True(t, decided)
	require.Equal(t, otadata.Make(2, otadata.Valid), record(t, p, data, 1))

	torn.CRC ^= 1
	p, data = board(t, torn, otadata.Make(1, otadata.Valid))
	p.TestsUnnamed = true
	require.Equal(t, agent.PlatformValid, p.State())
	_, decided = p.SetState(agent.ImageAccepted)
	require.False(t, decided)
	require.Equal(t, torn, record(t, p, data, 0))
}
