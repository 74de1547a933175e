package ota

import (
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/streams"
)

// CreateRequest is the body of CreateOTAUpdate, in the API's own spelling: what
// one passes to aws iot create-ota-update --cli-input-json.
type CreateRequest struct {
	OTAUpdateID                   string                   `json:"otaUpdateId"`
	Description                   string                   `json:"description,omitempty"`
	Targets                       []string                 `json:"targets"`
	Protocols                     []string                 `json:"protocols,omitempty"` // MQTT, HTTP; default MQTT
	TargetSelection               string                   `json:"targetSelection,omitempty"`
	AWSJobExecutionsRolloutConfig *jobs.RolloutConfig      `json:"awsJobExecutionsRolloutConfig,omitempty"`
	AWSJobPresignedURLConfig      *jobs.PresignedURLConfig `json:"awsJobPresignedUrlConfig,omitempty"`
	AWSJobAbortConfig             *AbortConfig             `json:"awsJobAbortConfig,omitempty"`
	AWSJobTimeoutConfig           *jobs.TimeoutConfig      `json:"awsJobTimeoutConfig,omitempty"`
	Files                         []File                   `json:"files"`
	RoleARN                       string                   `json:"roleArn"`
	AdditionalParameters          map[string]string        `json:"additionalParameters,omitempty"`
	Tags                          []Tag                    `json:"tags,omitempty"`
}

// AbortConfig is the abort configuration under the name it has here.
type AbortConfig struct {
	AbortCriteriaList []jobs.AbortCriterion `json:"abortCriteriaList"`
}

// Tag is a label of a resource.
type Tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value,omitempty"`
}

// File is one file of an update.
type File struct {
	FileName     string            `json:"fileName,omitempty"`
	FileType     int               `json:"fileType,omitempty"` // 0-255, 0 = firmware
	FileVersion  string            `json:"fileVersion,omitempty"`
	FileLocation *FileLocation     `json:"fileLocation,omitempty"`
	CodeSigning  *CodeSigning      `json:"codeSigning,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
}

// FileLocation is a stream's file or an object.
type FileLocation struct {
	Stream     *StreamLocation   `json:"stream,omitempty"`
	S3Location *streams.Location `json:"s3Location,omitempty"`
}

// StreamLocation is a file of a stream that exists.
type StreamLocation struct {
	StreamID string `json:"streamId"`
	FileID   int    `json:"fileId"`
}

// CodeSigning has exactly one member set.
type CodeSigning struct {
	AWSSignerJobID           string                    `json:"awsSignerJobId,omitempty"`
	StartSigningJobParameter *StartSigningJobParameter `json:"startSigningJobParameter,omitempty"`
	CustomCodeSigning        *CustomCodeSigning        `json:"customCodeSigning,omitempty"`
}

// StartSigningJobParameter makes the service sign: with a profile that exists,
// or with one made from SigningProfileParameter under SigningProfileName.
type StartSigningJobParameter struct {
	SigningProfileParameter *SigningProfileParameter `json:"signingProfileParameter,omitempty"`
	SigningProfileName      string                   `json:"signingProfileName,omitempty"`
	Destination             *Destination             `json:"destination,omitempty"`
}

// SigningProfileParameter describes a profile to make.
type SigningProfileParameter struct {
	CertificateARN          string `json:"certificateArn"`
	Platform                string `json:"platform"`
	CertificatePathOnDevice string `json:"certificatePathOnDevice,omitempty"`
}

// Destination is where the signed object goes.
type Destination struct {
	S3Destination *S3Destination `json:"s3Destination,omitempty"`
}

// S3Destination is a bucket and a key prefix.
type S3Destination struct {
	Bucket string `json:"bucket"`
	Prefix string `json:"prefix,omitempty"`
}

// CustomCodeSigning carries a signature made elsewhere.
type CustomCodeSigning struct {
	Signature          *Blob             `json:"signature,omitempty"`
	CertificateChain   *CertificateChain `json:"certificateChain,omitempty"`
	HashAlgorithm      string            `json:"hashAlgorithm,omitempty"`
	SignatureAlgorithm string            `json:"signatureAlgorithm,omitempty"`
}

// Blob is binary data, base64 in JSON.
type Blob struct {
	InlineDocument []byte `json:"inlineDocument,omitempty"`
}

// CertificateChain names the certificate on the device.
type CertificateChain struct {
	CertificateName string `json:"certificateName,omitempty"`
	InlineDocument  string `json:"inlineDocument,omitempty"`
}

// States of an OTA update.
const (
	CreatePending    = "CREATE_PENDING"
	CreateInProgress = "CREATE_IN_PROGRESS"
	CreateComplete   = "CREATE_COMPLETE"
	CreateFailed     = "CREATE_FAILED"
	DeleteInProgress = "DELETE_IN_PROGRESS"
	DeleteFailed     = "DELETE_FAILED"
)

// CreateResponse answers CreateOTAUpdate.
type CreateResponse struct {
	OTAUpdateID     string `json:"otaUpdateId"`
	OTAUpdateARN    string `json:"otaUpdateArn"`
	OTAUpdateStatus string `json:"otaUpdateStatus"`
}

// ErrorInfo says why an update failed.
type ErrorInfo struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Info is what GetOTAUpdate tells.
type Info struct {
	OTAUpdateID                   string                   `json:"otaUpdateId"`
	OTAUpdateARN                  string                   `json:"otaUpdateArn"`
	CreationDate                  aws.Timestamp            `json:"creationDate"`
	LastModifiedDate              aws.Timestamp            `json:"lastModifiedDate"`
	Description                   string                   `json:"description,omitempty"`
	Targets                       []string                 `json:"targets"`
	Protocols                     []string                 `json:"protocols"`
	AWSJobExecutionsRolloutConfig *jobs.RolloutConfig      `json:"awsJobExecutionsRolloutConfig,omitempty"`
	AWSJobPresignedURLConfig      *jobs.PresignedURLConfig `json:"awsJobPresignedUrlConfig,omitempty"`
	TargetSelection               string                   `json:"targetSelection"`
	OTAUpdateFiles                []File                   `json:"otaUpdateFiles"`
	OTAUpdateStatus               string                   `json:"otaUpdateStatus"`
	AWSIoTJobID                   string                   `json:"awsIotJobId,omitempty"`
	AWSIoTJobARN                  string                   `json:"awsIotJobArn,omitempty"`
	ErrorInfo                     *ErrorInfo               `json:"errorInfo,omitempty"`
	AdditionalParameters          map[string]string        `json:"additionalParameters,omitempty"`
}

// Summary is one row of ListOTAUpdates.
type Summary struct {
	OTAUpdateID  string        `json:"otaUpdateId"`
	OTAUpdateARN string        `json:"otaUpdateArn"`
	CreationDate aws.Timestamp `json:"creationDate"`
}
