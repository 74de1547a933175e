package api

import (
	"slices"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/signer"
)

var signerOperations = []operation{
	{"PUT", "/signing-profiles/{profile}", "PutSigningProfile", putSigningProfile},
	{"GET", "/signing-profiles/{profile}", "GetSigningProfile", getSigningProfile},
	{"DELETE", "/signing-profiles/{profile}", "CancelSigningProfile", cancelSigningProfile},
	{"GET", "/signing-profiles", "ListSigningProfiles", listSigningProfiles},
	{"POST", "/signing-jobs", "StartSigningJob", startSigningJob},
	{"GET", "/signing-jobs/{job}", "DescribeSigningJob", describeSigningJob},
	{"GET", "/signing-jobs", "ListSigningJobs", listSigningJobs},
	{"GET", "/signing-platforms", "ListSigningPlatforms", listSigningPlatforms},
	{"GET", "/signing-platforms/{platform}", "GetSigningPlatform", getSigningPlatform},
}

func putSigningProfile(q *request) (any, error) {
	var p signer.Profile
	if err := q.body(&p); err != nil {
		return nil, err
	}
	p.ProfileName = q.params["profile"]
	p, err := q.c.PutSigningProfile(p)
	return struct {
		ARN               string `json:"arn"`
		ProfileVersion    string `json:"profileVersion"`
		ProfileVersionARN string `json:"profileVersionArn"`
	}{p.ARN, p.ProfileVersion, p.ProfileVersionARN}, err
}

func platformName(id string) string {
	i := slices.IndexFunc(signer.Platforms, func(p signer.Platform) bool { return p.ID == id })
	return signer.Platforms[i].Name // profiles have known platforms only
}

func getSigningProfile(q *request) (any, error) {
	p, err := q.c.Signer().GetSigningProfile(q.params["profile"])
	if err != nil {
		return nil, err
	}
	return struct {
		signer.Profile
		PlatformDisplayName string `json:"platformDisplayName"`
	}{p, platformName(p.PlatformID)}, nil
}

func cancelSigningProfile(q *request) (any, error) {
	return nil, q.c.Signer().CancelSigningProfile(q.params["profile"])
}

func listSigningProfiles(q *request) (any, error) {
	canceled, err := q.flag("includeCanceled")
	if err != nil {
		return nil, err
	}
	type profile struct {
		signer.Profile
		PlatformDisplayName string `json:"platformDisplayName"`
	}
	list, next, err := paged(q, q.c.Signer().ListSigningProfiles(canceled, q.query.Get("platformId")))
	rows := make([]profile, len(list))
	for i, p := range list {
		rows[i] = profile{p, platformName(p.PlatformID)}
	}
	return struct {
		Profiles  []profile `json:"profiles"`
		NextToken *string   `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func startSigningJob(q *request) (any, error) {
	var b struct {
		Source struct {
			S3 signer.S3Source `json:"s3"`
		} `json:"source"`
		Destination struct {
			S3 signer.S3Destination `json:"s3"`
		} `json:"destination"`
		ProfileName        string `json:"profileName"`
		ClientRequestToken string `json:"clientRequestToken"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	id, err := q.c.StartSigningJob(q.now, signer.StartRequest{Source: b.Source.S3, Destination: b.Destination.S3, ProfileName: b.ProfileName, ClientRequestToken: b.ClientRequestToken})
	return struct {
		JobID    string `json:"jobId"`
		JobOwner string `json:"jobOwner"`
	}{id, q.c.Account()}, err
}

// signingJob is a job as the API tells it: locations wrapped in "s3".
type signingJob struct {
	signer.Job
	Source struct {
		S3 signer.S3Source `json:"s3"`
	} `json:"source"`
	SignedObject *signedObject `json:"signedObject,omitempty"`
	DisplayName  string        `json:"platformDisplayName"`
	JobOwner     string        `json:"jobOwner"`
}

type signedObject struct {
	S3 signer.S3Object `json:"s3"`
}

func (q *request) signingJob(j signer.Job) signingJob {
	out := signingJob{Job: j, DisplayName: platformName(j.PlatformID), JobOwner: q.c.Account()}
	out.Source.S3 = j.Source
	if j.SignedObject != (signer.S3Object{}) {
		out.SignedObject = &signedObject{j.SignedObject}
	}
	return out
}

func describeSigningJob(q *request) (any, error) {
	j, err := q.c.DescribeSigningJob(q.params["job"])
	if err != nil {
		return nil, err
	}
	return q.signingJob(j), nil
}

func listSigningJobs(q *request) (any, error) {
	list, next, err := paged(q, q.c.Signer().ListSigningJobs(q.query.Get("status"), q.query.Get("platformId")))
	rows := make([]signingJob, len(list))
	for i, j := range list {
		rows[i] = q.signingJob(j)
	}
	return struct {
		Jobs      []signingJob `json:"jobs"`
		NextToken *string      `json:"nextToken,omitempty"`
	}{rows, next}, err
}

// platform is a signing platform as the API tells it.
func platform(p signer.Platform) any {
	type options struct {
		AllowedValues []string `json:"allowedValues"`
		DefaultValue  string   `json:"defaultValue"`
	}
	var out struct {
		PlatformID    string `json:"platformId"`
		DisplayName   string `json:"displayName"`
		Target        string `json:"target"`
		Configuration struct {
			Encryption options `json:"encryptionAlgorithmOptions"`
			Hash       options `json:"hashAlgorithmOptions"`
		} `json:"signingConfiguration"`
		ImageFormat struct {
			Supported []string `json:"supportedFormats"`
			Default   string   `json:"defaultFormat"`
		} `json:"signingImageFormat"`
		MaxSizeInMB int `json:"maxSizeInMB"`
	}
	out.PlatformID, out.DisplayName, out.Target, out.MaxSizeInMB = p.ID, p.Name, "SHA", p.MaxSize>>20
	out.Configuration.Encryption = options{[]string{p.Encryption}, p.Encryption}
	out.Configuration.Hash = options{[]string{p.Hash}, p.Hash}
	out.ImageFormat.Supported, out.ImageFormat.Default = []string{"JSONEmbedded", "JSONDetached"}, p.Format
	return out
}

func listSigningPlatforms(q *request) (any, error) {
	list, next, err := paged(q, signer.Platforms)
	rows := make([]any, len(list))
	for i, p := range list {
		rows[i] = platform(p)
	}
	return struct {
		Platforms []any   `json:"platforms"`
		NextToken *string `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func getSigningPlatform(q *request) (any, error) {
	for _, p := range signer.Platforms {
		if p.ID == q.params["platform"] {
			return platform(p), nil
		}
	}
	return nil, aws.ResourceNotFound.Because("Platform %.80s cannot be found.", q.params["platform"])
}
