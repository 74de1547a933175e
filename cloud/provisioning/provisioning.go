// Package provisioning is AWS IoT fleet provisioning by claim: templates that say
// which thing, certificate and policies a new device gets, and the tokens by which
// a device owns the certificate that it was made.
//
//	claim certificate connects
//	$aws/certificates/create/FORMAT           -> certificate PENDING_ACTIVATION, token (1 h)
//	$aws/provisioning-templates/T/provision/FORMAT  token + parameters -> thing, groups, policies, ACTIVE
//
// Sources: AWS IoT Core Developer Guide, pages provision-wo-cert,
// provision-template, fleet-provision-api; API model iot/2015-05-28.
package provisioning

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

// TokenLife is how long a certificate waits for its device.
const TokenLife = time.Hour

// ClaimLife is how long a certificate of CreateProvisioningClaim is good.
const ClaimLife = 5 * time.Minute

const (
	maxVersions = 5
	maxBody     = 10240
)

// Service is the state of the templates of one account. It is not safe for
// concurrent use.
type Service struct {
	realm     aws.Realm
	seed      aws.Seed
	templates []*template // by creation
	tokens    map[string]grant
	granted   int
}

type template struct {
	name, description, role string
	enabled                 bool
	created, modified       int64
	versions                []*version // by creation
	inForce                 *version
	made                    int
}

type version struct {
	id      int
	body    string
	parsed  *document
	created int64
}

type grant struct {
	certificate string
	until       int64
}

// New returns a service without templates.
func New(realm aws.Realm, seed aws.Seed) *Service {
	return &Service{realm: realm, seed: seed, tokens: map[string]grant{}}
}

// CreateTemplateRequest is the body of CreateProvisioningTemplate.
type CreateTemplateRequest struct {
	TemplateName string `json:"templateName"`
	Description  string `json:"description"`
	TemplateBody string `json:"templateBody"`
	Enabled      bool   `json:"enabled"`
	RoleARN      string `json:"provisioningRoleArn"`
	Type         string `json:"type"`
	Hook         *Hook  `json:"preProvisioningHook"`
}

// Hook is a Lambda function that is asked before a device is provisioned. There is
// none to ask here, so it is refused.
type Hook struct {
	TargetARN string `json:"targetArn"`
}

// TemplateResponse answers CreateProvisioningTemplate.
type TemplateResponse struct {
	TemplateARN      string `json:"templateArn"`
	TemplateName     string `json:"templateName"`
	DefaultVersionID int    `json:"defaultVersionId"`
}

func (s *Service) arn(name string) string { return s.realm.ARN("provisioningtemplate", name) }

func (s *Service) find(name string) (*template, error) {
	if i := slices.IndexFunc(s.templates, func(t *template) bool { return t.name == name }); i >= 0 {
		return s.templates[i], nil
	}
	return nil, aws.ResourceNotFound.Because("Provisioning template %.40s cannot be found.", name)
}

func checkSettings(description, role string, hook *Hook) error {
	switch {
	case len(description) > 500:
		return aws.InvalidRequest.Because("description has %d characters, the limit is 500", len(description))
	case len(role) < 20 || len(role) > 2048:
		return aws.InvalidRequest.Because("provisioningRoleArn %.60q: want 20 to 2048 characters", role)
	case hook != nil:
		return aws.InvalidRequest.Because("preProvisioningHook: there are no Lambda functions here")
	}
	return nil
}

// CreateTemplate stores a template.
func (s *Service) CreateTemplate(now time.Time, r CreateTemplateRequest) (TemplateResponse, error) {
	if !aws.Name(r.TemplateName, 36, "") {
		return TemplateResponse{}, aws.InvalidRequest.Because("templateName %.40q: want 1 to 36 of [0-9A-Za-z_-]", r.TemplateName)
	}
	if r.Type != "" && r.Type != "FLEET_PROVISIONING" {
		return TemplateResponse{}, aws.InvalidRequest.Because("type %.40q: only FLEET_PROVISIONING is known here", r.Type)
	}
	if err := checkSettings(r.Description, r.RoleARN, r.Hook); err != nil {
		return TemplateResponse{}, err
	}
	if _, err := s.find(r.TemplateName); err == nil {
		return TemplateResponse{}, aws.Exists("Provisioning template", r.TemplateName, s.arn(r.TemplateName))
	}
	t := &template{name: r.TemplateName, description: r.Description, role: r.RoleARN, enabled: r.Enabled, created: now.UnixNano(), modified: now.UnixNano()}
	v, err := t.add(now, r.TemplateBody)
	if err != nil {
		return TemplateResponse{}, err
	}
	t.inForce = v
	s.templates = append(s.templates, t)
	return TemplateResponse{s.arn(t.name), t.name, v.id}, nil
}

func (t *template) add(now time.Time, body string) (*version, error) {
	d, err := parse(body)
	if err != nil {
		return nil, aws.InvalidRequest.Because("templateBody: %v", err)
	}
	t.made++
	v := &version{id: t.made, body: body, parsed: d, created: now.UnixNano()}
	t.versions = append(t.versions, v)
	return v, nil
}

// Summary is one row of ListProvisioningTemplates.
type Summary struct {
	TemplateARN      string        `json:"templateArn"`
	TemplateName     string        `json:"templateName"`
	Description      string        `json:"description,omitempty"`
	CreationDate     aws.Timestamp `json:"creationDate"`
	LastModifiedDate aws.Timestamp `json:"lastModifiedDate"`
	Enabled          bool          `json:"enabled"`
	Type             string        `json:"type"`
}

// Description answers DescribeProvisioningTemplate.
type Description struct {
	Summary
	DefaultVersionID int    `json:"defaultVersionId"`
	TemplateBody     string `json:"templateBody"`
	RoleARN          string `json:"provisioningRoleArn"`
}

func (s *Service) summary(t *template) Summary {
	return Summary{s.arn(t.name), t.name, t.description, aws.At(t.created), aws.At(t.modified), t.enabled, "FLEET_PROVISIONING"}
}

// DescribeTemplate tells about a template.
func (s *Service) DescribeTemplate(name string) (Description, error) {
	t, err := s.find(name)
	if err != nil {
		return Description{}, err
	}
	return Description{s.summary(t), t.inForce.id, t.inForce.body, t.role}, nil
}

// ListTemplates lists all templates, oldest first.
func (s *Service) ListTemplates() []Summary {
	out := []Summary{}
	for _, t := range s.templates {
		out = append(out, s.summary(t))
	}
	return out
}

// UpdateTemplateRequest is the body of UpdateProvisioningTemplate. What is absent
// stays.
type UpdateTemplateRequest struct {
	Description      *string `json:"description"`
	Enabled          *bool   `json:"enabled"`
	DefaultVersionID *int    `json:"defaultVersionId"`
	RoleARN          *string `json:"provisioningRoleArn"`
	Hook             *Hook   `json:"preProvisioningHook"`
	RemoveHook       bool    `json:"removePreProvisioningHook"`
}

// UpdateTemplate changes a template.
func (s *Service) UpdateTemplate(now time.Time, name string, r UpdateTemplateRequest) error {
	t, err := s.find(name)
	if err != nil {
		return err
	}
	next := *t
	if r.Description != nil {
		next.description = *r.Description
	}
	if r.RoleARN != nil {
		next.role = *r.RoleARN
	}
	if r.Enabled != nil {
		next.enabled = *r.Enabled
	}
	if r.DefaultVersionID != nil {
		if next.inForce, err = t.version(*r.DefaultVersionID); err != nil {
			return err
		}
	}
	if err := checkSettings(next.description, next.role, r.Hook); err != nil {
		return err
	}
	next.modified = now.UnixNano()
	*t = next
	return nil
}

// DeleteTemplate removes a template that has one version.
func (s *Service) DeleteTemplate(name string) error {
	t, err := s.find(name)
	if err != nil {
		return err
	}
	if len(t.versions) > 1 {
		return aws.DeleteConflict.Because("Provisioning template %s has %d versions; the others must be deleted first.", name, len(t.versions))
	}
	s.templates = slices.DeleteFunc(s.templates, func(x *template) bool { return x == t })
	return nil
}

// VersionResponse answers CreateProvisioningTemplateVersion.
type VersionResponse struct {
	TemplateARN  string `json:"templateArn"`
	TemplateName string `json:"templateName"`
	VersionID    int    `json:"versionId"`
	IsDefault    bool   `json:"isDefaultVersion"`
}

// CreateVersion adds a version to a template.
func (s *Service) CreateVersion(now time.Time, name, body string, setAsDefault bool) (VersionResponse, error) {
	t, err := s.find(name)
	if err != nil {
		return VersionResponse{}, err
	}
	if len(t.versions) >= maxVersions {
		return VersionResponse{}, aws.VersionsLimitExceeded.Because("Provisioning template %s has %d versions.", name, len(t.versions))
	}
	v, err := t.add(now, body)
	if err != nil {
		return VersionResponse{}, err
	}
	if setAsDefault {
		t.inForce = v
	}
	t.modified = now.UnixNano()
	return VersionResponse{s.arn(name), name, v.id, setAsDefault}, nil
}

func (t *template) version(id int) (*version, error) {
	if i := slices.IndexFunc(t.versions, func(v *version) bool { return v.id == id }); i >= 0 {
		return t.versions[i], nil
	}
	return nil, aws.ResourceNotFound.Because("Provisioning template %s has no version %d.", t.name, id)
}

// VersionSummary is one row of ListProvisioningTemplateVersions.
type VersionSummary struct {
	VersionID    int           `json:"versionId"`
	CreationDate aws.Timestamp `json:"creationDate"`
	IsDefault    bool          `json:"isDefaultVersion"`
}

// VersionDescription answers DescribeProvisioningTemplateVersion.
type VersionDescription struct {
	VersionSummary
	TemplateBody string `json:"templateBody"`
}

// ListVersions lists the versions of a template, oldest first.
func (s *Service) ListVersions(name string) ([]VersionSummary, error) {
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	out := []VersionSummary{}
	for _, v := range t.versions {
		out = append(out, VersionSummary{v.id, aws.At(v.created), v == t.inForce})
	}
	return out, nil
}

// DescribeVersion tells about a version.
func (s *Service) DescribeVersion(name string, id int) (VersionDescription, error) {
	t, err := s.find(name)
	if err != nil {
		return VersionDescription{}, err
	}
	v, err := t.version(id)
	if err != nil {
		return VersionDescription{}, err
	}
	return VersionDescription{VersionSummary{v.id, aws.At(v.created), v == t.inForce}, v.body}, nil
}

// DeleteVersion removes a version that is not the default one.
func (s *Service) DeleteVersion(name string, id int) error {
	t, err := s.find(name)
	if err != nil {
		return err
	}
	v, err := t.version(id)
	if err != nil {
		return err
	}
	if v == t.inForce {
		return aws.DeleteConflict.Because("Version %d of provisioning template %s is the default version.", id, name)
	}
	t.versions = slices.DeleteFunc(t.versions, func(x *version) bool { return x == v })
	return nil
}

// Grant gives out the token by which a device owns a new certificate.
func (s *Service) Grant(now time.Time, certificateID string) (token string) {
	s.granted++
	token = s.seed.Token("ownership "+strconv.Itoa(s.granted), 64)
	s.tokens[token] = grant{certificateID, now.Add(TokenLife).UnixNano()}
	return token
}

// Spend makes a token worthless.
func (s *Service) Spend(token string) { delete(s.tokens, token) }

// Expand says what a template makes of a device: of the certificate that its
// token stands for, and of its parameters. It changes nothing.
func (s *Service) Expand(now time.Time, name, token string, parameters map[string]string) (*Plan, error) {
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if !t.enabled {
		return nil, aws.InvalidRequest.Because("Provisioning template %s is not enabled.", name)
	}
	g, ok := s.tokens[token]
	if !ok || now.UnixNano() >= g.until {
		return nil, ErrToken.Because("The certificate ownership token is not valid.")
	}
	p, err := t.inForce.parsed.expand(g.certificate, parameters)
	if err != nil {
		return nil, ErrParameters.Because("%v", err)
	}
	p.CertificateID = g.certificate
	return p, nil
}

// Exceptions that answers over MQTT name without the ending.
var (
	ErrToken      = &aws.Exception{Name: "InvalidCertificateOwnershipTokenException", Status: 400}
	ErrParameters = &aws.Exception{Name: "InvalidParametersException", Status: 400}
	ErrConflict   = &aws.Exception{Name: "ResourceConflictException", Status: 409}
)

// ClaimPolicy is what a certificate of CreateProvisioningClaim may do: all that it
// takes to provision one device by the template, as any client.
func ClaimPolicy(realm aws.Realm, name string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},`+
		`{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":[%q,%q]},{"Effect":"Allow","Action":"iot:Subscribe","Resource":[%q,%q]}]}`,
		realm.ARN("topic", "$aws/certificates/create*"), realm.ARN("topic", "$aws/provisioning-templates/"+name+"/provision/*"),
		realm.ARN("topicfilter", "$aws/certificates/create*"), realm.ARN("topicfilter", "$aws/provisioning-templates/"+name+"/provision/*"))
}
