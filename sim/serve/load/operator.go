package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/sigv4"
	"github.com/otasim/otasim/sim/serve"
)

const arn = "arn:aws:iot:us-east-1:123456789012:"

// operator prepares the cloud.
type operator struct {
	http   string
	client *http.Client
}

func newOperator(r serve.Ready) *operator {
	return &operator{"http://" + r.HTTP, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// call sends a signed request.
func (o *operator) call(service, method, path string, in any, out any, header ...string) error {
	body, ok := in.([]byte)
	if !ok && in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequest(method, o.http+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	sigv4.Sign(r, sigv4.Credentials{AccessKey: serve.DefaultKey, SecretKey: serve.DefaultKey}, "us-east-1", service, sigv4.Payload(body), time.Now())
	resp, err := o.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// identity makes a key and has the cloud certify it.
func (o *operator) identity(name string) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	var made struct{ CertificateArn, CertificatePem string }
	if err := o.call(api.IoT, "POST", "/certificates?setAsActive=true",
		map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}, &made); err != nil {
		return tls.Certificate{}, "", err
	}
	p, _ := pem.Decode([]byte(made.CertificatePem))
	if p == nil {
		return tls.Certificate{}, "", errors.New("no certificate")
	}
	return tls.Certificate{Certificate: [][]byte{p.Bytes}, PrivateKey: key}, made.CertificateArn, nil
}

// each calls f for every device, many at a time.
func each(n, abreast int, f func(i int) error) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	turn := make(chan struct{}, abreast)
	for i := range n {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			if err := f(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(errs) < 5 {
					errs = append(errs, err)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// prepare makes image, stream, policy, group, and for each device a thing with a
// certificate; and then the job.
func (o *operator) prepare(set settings, devices []*device, roots *x509.CertPool) error {
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"` + arn + `client/${iot:Connection.Thing.ThingName}"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"` + arn + `topic/$aws/things/${iot:Connection.Thing.ThingName}/*"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + arn + `topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/*"}]}`
	for _, c := range []struct {
		service, method, path string
		in                    any
	}{
		{api.S3, "PUT", "/images", nil},
		{api.S3, "PUT", "/images/app.bin", content(set.image)},
		{api.IoT, "POST", "/streams/load", map[string]any{"roleArn": "arn:aws:iam::123456789012:role/r",
			"files": []any{map[string]any{"fileId": 1, "s3Location": map[string]string{"bucket": "images", "key": "app.bin"}}}}},
		{api.IoT, "POST", "/policies/device", map[string]string{"policyDocument": policy}},
	} {
		if err := o.call(c.service, c.method, c.path, c.in, nil); err != nil {
			return err
		}
	}
	for i := range (len(devices) + batch - 1) / batch {
		if err := o.call(api.IoT, "POST", "/thing-groups/"+group(i*batch), map[string]any{}, nil); err != nil {
			return err
		}
	}
	return each(len(devices), 64, func(i int) error {
		d := devices[i]
		cert, id, err := o.identity(d.name)
		if err != nil {
			return err
		}
		d.config = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.CurveP256}}
		return errors.Join(o.call(api.IoT, "POST", "/things/"+d.name, map[string]any{}, nil),
			o.call(api.IoT, "PUT", "/target-policies/device", map[string]string{"target": id}, nil),
			o.call(api.IoT, "PUT", "/things/"+d.name+"/principals", nil, nil, "x-amzn-principal", id),
			o.call(api.IoT, "PUT", "/thing-groups/addThingToThingGroup", map[string]string{"thingName": d.name, "thingGroupName": group(i)}, nil))
	})
}

// batch is how many devices have a group, and a job, in common. A job starts 1,000
// executions a minute at most, so one job for all would be the limit.
const batch = 500

func group(device int) string { return fmt.Sprintf("fleet-%d", device/batch) }

// start creates a job for each group.
func (o *operator) start(clients int) error {
	for i := 0; i < clients; i += batch {
		if err := o.call(api.IoT, "PUT", "/jobs/"+group(i), map[string]any{"targets": []string{arn + "thinggroup/" + group(i)}, "document": `{"stream":"load"}`}, nil); err != nil {
			return err
		}
	}
	return nil
}

// verify asks the cloud what it knows: every job COMPLETED, and every execution
// SUCCEEDED after exactly the two transitions that its device was told of.
func (o *operator) verify(clients int) error {
	for i := 0; i < clients; i += batch {
		if err := o.completed(group(i), min(batch, clients-i)); err != nil {
			return err
		}
	}
	return each(clients, 32, func(i int) error {
		var one struct {
			Execution struct {
				Status        string
				VersionNumber int
			}
		}
		if err := o.call(api.IoT, "GET", fmt.Sprintf("/things/dev-%05d/jobs/%s", i, group(i)), nil, &one); err != nil {
			return err
		}
		if e := one.Execution; e.Status != "SUCCEEDED" || e.VersionNumber != 3 {
			return fmt.Errorf("dev-%05d is %s at version %d of its execution, not SUCCEEDED at 3: a transition is lost or was made twice", i, e.Status, e.VersionNumber)
		}
		return nil
	})
}

// completed waits for the end of a job, which follows its last execution's.
func (o *operator) completed(id string, things int) error {
	var job struct {
		Job struct {
			Status  string
			Details struct{ NumberOfSucceededThings int } `json:"jobProcessDetails"`
		}
	}
	for begin := time.Now(); job.Job.Status != "COMPLETED" && time.Since(begin) < 10*time.Second; {
		if err := o.call(api.IoT, "GET", "/jobs/"+id, nil, &job); err != nil {
			return err
		}
	}
	if job.Job.Status != "COMPLETED" || job.Job.Details.NumberOfSucceededThings != things {
		return fmt.Errorf("job %s is %s, %d of %d executions SUCCEEDED", id, job.Job.Status, job.Job.Details.NumberOfSucceededThings, things)
	}
	return nil
}
