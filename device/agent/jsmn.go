package agent

// The 2018 agent's JSON reader: a tokenizer without a grammar (jsmn 1.0 in its strict mode, in AFR
// lib/third_party/jsmn). It checks strings, brackets and how a number or word begins, and little else; the agent then
// walks the tokens one after the other, whatever their depth.

type tokenKind uint8

const (
	tokenNone tokenKind = iota // behind the last token
	tokenObject
	tokenArray
	tokenString
	tokenPrimitive
)

// token is one value: text[start:end], the quotes of a string left out. parent is the token it lies in or, for a
// value, the key before it; -1 at the top.
type token struct {
	kind               tokenKind
	start, end, parent int
	members            bool
}

// tokenizer takes at most limit tokens.
type tokenizer struct {
	text   []byte
	tokens []token
	limit  int
	super  int // the token that the next one belongs to
}

// tokenize splits a text into tokens, in room as far as it goes; ok is false when it is damaged or has more than limit tokens.
func tokenize(room []token, text []byte, limit int) (tokens []token, ok bool) {
	t := tokenizer{text: text, tokens: room[:0], limit: limit, super: -1}
	for i := 0; i < len(text) && text[i] != 0; i++ {
		switch c := text[i]; c {
		case '{':
			ok = t.add(token{kind: tokenObject, start: i, end: -1})
			t.super = len(t.tokens) - 1
		case '[':
			ok = t.add(token{kind: tokenArray, start: i, end: -1})
			t.super = len(t.tokens) - 1
		case '}':
			ok = t.closeBracket(tokenObject, i+1)
		case ']':
			ok = t.closeBracket(tokenArray, i+1)
		case '"':
			var end int
			if end, ok = t.str(i); ok {
				ok = t.add(token{kind: tokenString, start: i + 1, end: end})
				i = end
			}
		case '\t', '\r', '\n', ' ':
			ok = true
		case ':':
			t.super = len(t.tokens) - 1
			ok = true
		case ',':
			if t.super != -1 && t.tokens[t.super].kind != tokenArray && t.tokens[t.super].kind != tokenObject {
				t.super = t.tokens[t.super].parent
			}
			ok = true
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 't', 'f', 'n':
			var end int
			if end, ok = t.primitive(i); ok && t.takesPrimitive() {
				ok = t.add(token{kind: tokenPrimitive, start: i, end: end})
				i = end - 1
			} else {
				ok = false
			}
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
	for _, tok := range t.tokens {
		if tok.end < 0 {
			return nil, false
		}
	}
	return t.tokens, true
}

func (t *tokenizer) add(tok token) bool {
	if len(t.tokens) == t.limit {
		return false
	}
	tok.parent = t.super
	if t.super != -1 {
		t.tokens[t.super].members = true
	}
	t.tokens = append(t.tokens, tok)
	return true
}

// closeBracket ends the innermost open object or array.
func (t *tokenizer) closeBracket(kind tokenKind, end int) bool {
	i := len(t.tokens) - 1
	if i < 0 {
		return false
	}
	for {
		tok := &t.tokens[i]
		if tok.end < 0 {
			if tok.kind != kind {
				return false
			}
			tok.end = end
			t.super = tok.parent
			return true
		}
		if tok.parent < 0 {
			return tok.kind == kind && t.super != -1
		}
		i = tok.parent
	}
}

// str returns the offset of the closing quote of the string at i.
func (t *tokenizer) str(i int) (int, bool) {
	b := t.text
	for j := i + 1; j < len(b) && b[j] != 0; j++ {
		switch b[j] {
		case '"':
			return j, true
		case '\\':
			if j+1 >= len(b) {
				continue
			}
			j++
			switch b[j] {
			case '"', '/', '\\', 'b', 'f', 'r', 'n', 't':
			case 'u':
				for n := 0; n < 4 && j+1 < len(b) && b[j+1] != 0; n++ {
					if _, ok := hexDigit(b[j+1]); !ok {
						return 0, false
					}
					j++
				}
			default:
				return 0, false
			}
		}
	}
	return 0, false
}

// primitive returns the offset after the number or word at i: anything printable up to a delimiter.
func (t *tokenizer) primitive(i int) (int, bool) {
	b := t.text
	for ; i < len(b) && b[i] != 0; i++ {
		switch c := b[i]; {
		case c == '\t' || c == '\r' || c == '\n' || c == ' ' || c == ',' || c == ']' || c == '}':
			return i, true
		case c < ' ' || c >= 0x7f:
			return 0, false
		}
	}
	return 0, false
}

// takesPrimitive reports whether a number or word may stand here: not as a key, nor as a second value of one.
func (t *tokenizer) takesPrimitive() bool {
	if t.super == -1 {
		return true
	}
	k := &t.tokens[t.super]
	return k.kind != tokenObject && (k.kind != tokenString || !k.members)
}
