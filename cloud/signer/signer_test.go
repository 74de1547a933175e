package signer

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type store map[string][]byte

func (s store) Read(bucket, key, _ string) ([]byte, error) {
	if b, ok := s[bucket+"/"+key]; ok {
		return b, nil
	}
	return nil, errors.New("NoSuchKey")
}

func (s store) Write(bucket, key string, data []byte) (string, error) {
	s[bucket+"/"+key] = data
	return "v", nil
}

func service(t *testing.T, objects store) (*Service, *agenda.Agenda, string, *ecdsa.PrivateKey) {
	a := &agenda.Agenda{}
	s := New(Config{Realm: aws.Realm{Region: "eu-central-1", Account: "123456789012"}, Seed: aws.Seed{3}, Objects: objects, Agenda: a, SigningTime: time.Second})
	ca, err := pki.New(aws.Seed{1}, epoch)
	require.NoError(t, err)
	der, key, err := ca.CodeSigner("fw", nil)
	require.NoError(t, err)
	arn, err := s.ImportCertificate(der, key)
	require.NoError(t, err)
	device, deviceKey, err := ca.Device("d")
	require.NoError(t, err)
	_, err = s.ImportCertificate(device, deviceKey)
	require.ErrorIs(t, err, aws.Validation, "not for code signing")
	_, err = s.ImportCertificate(der, deviceKey)
	require.ErrorIs(t, err, aws.Validation, "another key")
	text, err := s.Certificate(arn)
	require.NoError(t, err)
	back, err := pki.ParsePEM(text)
	require.NoError(t, err)
	require.Equal(t, der, back)
	return s, a, arn, key
}

func TestEnvelopes(t *testing.T) {
	for platform, embedded := range map[string]bool{"AmazonFreeRTOS-Default": true, "AWSIoTDeviceManagement-SHA256-ECDSA": false} {
		objects := store{"b/app": []byte("raw image")}
		s, a, arn, key := service(t, objects)
		p, err := s.PutSigningProfile(Profile{ProfileName: "p1", PlatformID: platform, SigningMaterial: Material{arn}})
		require.NoError(t, err)
		require.Len(t, p.ProfileVersion, 10)
		id, err := s.StartSigningJob(epoch, StartRequest{Source: S3Source{"b", "app", "v1"}, Destination: S3Destination{"b", "signed/"}, ProfileName: "p1"}, nil)
		require.NoError(t, err)
		j, err := s.DescribeSigningJob(id)
		require.NoError(t, err)
		require.Equal(t, InProgress, j.Status)
		_, _, err = s.SignedObject(id)
		require.ErrorIs(t, err, aws.ResourceNotFound)
		a.Run(epoch.Add(time.Second).UnixNano())
		j, err = s.DescribeSigningJob(id)
		require.NoError(t, err)
		require.Equal(t, Succeeded, j.Status)
		var e Envelope
		require.NoError(t, json.Unmarshal(objects["b/"+j.SignedObject.Key], &e))
		require.Equal(t, embedded, e.Payload != "")
		require.Equal(t, embedded, e.PayloadLocation == nil)
		sig, err := base64.StdEncoding.DecodeString(e.Signature)
		require.NoError(t, err)
		digest := sha256.Sum256([]byte("raw image"))
		require.True(t, ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig))
		again, err := Sign(key, []byte("raw image"))
		require.NoError(t, err)
		require.Equal(t, sig, again)
		_, raw, err := s.SignedObject(id)
		require.NoError(t, err)
		require.Equal(t, "raw image", string(raw))
	}
}

func TestRefusals(t *testing.T) {
	s, a, arn, _ := service(t, store{})
	for name, p := range map[string]Profile{
		"name":     {ProfileName: "a-b", PlatformID: "AmazonFreeRTOS-Default", SigningMaterial: Material{arn}},
		"platform": {ProfileName: "ab", PlatformID: "none", SigningMaterial: Material{arn}},
		"RSA":      {ProfileName: "ab", PlatformID: "AmazonFreeRTOS-TI-CC3220SF", SigningMaterial: Material{arn}},
		"material": {ProfileName: "ab", PlatformID: "AmazonFreeRTOS-Default"},
	} {
		_, err := s.PutSigningProfile(p)
		require.Error(t, err, name)
	}
	_, err := s.PutSigningProfile(Profile{ProfileName: "ab", PlatformID: "AmazonFreeRTOS-Default", SigningMaterial: Material{arn}})
	require.NoError(t, err)
	_, err = s.StartSigningJob(epoch, StartRequest{Source: S3Source{"b", "app", ""}, Destination: S3Destination{"b", ""}, ProfileName: "ab"}, nil)
	require.ErrorIs(t, err, aws.Validation, "the version is mandatory")
	ended := false
	id, err := s.StartSigningJob(epoch, StartRequest{Source: S3Source{"b", "app", "v"}, Destination: S3Destination{"b", ""}, ProfileName: "ab"}, func(int64) { ended = true })
	require.NoError(t, err)
	a.Run(epoch.Add(time.Minute).UnixNano())
	require.True(t, ended)
	j, err := s.DescribeSigningJob(id)
	require.NoError(t, err)
	require.Equal(t, Failed, j.Status)
	require.Contains(t, j.StatusReason, "NoSuchKey")
	require.NoError(t, s.CancelSigningProfile("ab"))
	require.Empty(t, s.ListSigningProfiles(false, ""))
	_, err = s.StartSigningJob(epoch, StartRequest{Source: S3Source{"b", "app", "v"}, Destination: S3Destination{"b", ""}, ProfileName: "ab"}, nil)
	require.ErrorIs(t, err, aws.ResourceNotFound)
}

func TestExpiredCertificate(t *testing.T) {
	s, a, arn, _ := service(t, store{"b/app": []byte("x")})
	_, err := s.PutSigningProfile(Profile{ProfileName: "ab", PlatformID: "AmazonFreeRTOS-Default", SigningMaterial: Material{arn}})
	require.NoError(t, err)
	text, err := s.Certificate(arn)
	require.NoError(t, err)
	der, err := pki.ParsePEM(text)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	late := c.NotAfter.Add(time.Hour)
	id, err := s.StartSigningJob(late, StartRequest{Source: S3Source{"b", "app", "v"}, Destination: S3Destination{"b", ""}, ProfileName: "ab"}, nil)
	require.NoError(t, err)
	a.Run(late.Add(time.Minute).UnixNano())
	j, err := s.DescribeSigningJob(id)
	require.NoError(t, err)
	require.Equal(t, Failed, j.Status)
	require.Contains(t, j.StatusReason, "expired")
}
