// Package aws holds what every AWS service of this cloud has in common:
// exceptions with their HTTP status, resource names (ARNs), timestamps and
// identifiers drawn from a seed.
//
// Sources: the API models iot/2015-05-28, iot-jobs-data/2017-09-29 and
// signer/2017-08-25 of boto/botocore.
package aws

import "fmt"

// Exception is an error of an AWS API: the name that clients switch on, the
// HTTP status it travels with and a text for people.
//
// Compare with errors.Is against the values below; the message takes no part.
type Exception struct {
	Name    string // for example "ResourceNotFoundException"
	Status  int    // HTTP status
	Message string
	// ResourceID and ResourceARN are set on ResourceAlreadyExistsException only.
	ResourceID, ResourceARN string
}

// The exceptions of the IoT control plane, the jobs data plane and the signer.
var (
	InvalidRequest         = &Exception{Name: "InvalidRequestException", Status: 400}
	MalformedPolicy        = &Exception{Name: "MalformedPolicyException", Status: 400}
	CertificateValidation  = &Exception{Name: "CertificateValidationException", Status: 400}
	Throttling             = &Exception{Name: "ThrottlingException", Status: 400}
	ThrottlingDataPlane    = &Exception{Name: "ThrottlingException", Status: 429}
	Validation             = &Exception{Name: "ValidationException", Status: 400}
	Unauthorized           = &Exception{Name: "UnauthorizedException", Status: 401}
	AccessDenied           = &Exception{Name: "AccessDeniedException", Status: 403}
	ResourceNotFound       = &Exception{Name: "ResourceNotFoundException", Status: 404}
	CertificateState       = &Exception{Name: "CertificateStateException", Status: 406}
	ResourceAlreadyExists  = &Exception{Name: "ResourceAlreadyExistsException", Status: 409}
	VersionConflict        = &Exception{Name: "VersionConflictException", Status: 409}
	DeleteConflict         = &Exception{Name: "DeleteConflictException", Status: 409}
	VersionsLimitExceeded  = &Exception{Name: "VersionsLimitExceededException", Status: 409}
	InvalidStateTransition = &Exception{Name: "InvalidStateTransitionException", Status: 409}
	LimitExceeded          = &Exception{Name: "LimitExceededException", Status: 410}
	TerminalState          = &Exception{Name: "TerminalStateException", Status: 410}
	Conflict               = &Exception{Name: "ConflictException", Status: 409}
	TooLarge               = &Exception{Name: "RequestEntityTooLargeException", Status: 413}
	InvalidQuery           = &Exception{Name: "InvalidQueryException", Status: 400}
	IndexNotReady          = &Exception{Name: "IndexNotReadyException", Status: 400}
	InternalFailure        = &Exception{Name: "InternalFailureException", Status: 500}
	ServiceUnavailable     = &Exception{Name: "ServiceUnavailableException", Status: 503}
)

// Error returns the name and the message.
func (e *Exception) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Name + ": " + e.Message
}

// Is reports whether target is an exception of the same name.
func (e *Exception) Is(target error) bool {
	t, ok := target.(*Exception)
	return ok && t.Name == e.Name
}

// Because returns the exception with a message.
func (e *Exception) Because(format string, args ...any) *Exception {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// Exists returns ResourceAlreadyExistsException for the named resource.
func Exists(kind, id, arn string) *Exception {
	e := ResourceAlreadyExists.Because("%s %q already exists", kind, id)
	e.ResourceID, e.ResourceARN = id, arn
	return e
}
