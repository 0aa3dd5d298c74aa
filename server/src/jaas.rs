//! JAAS files: which login modules stand in which section, with their options (`java.security.auth.login.config`).
//!
//! Owns the syntax, which is that of the JDK's `ConfigFile`: sections `Name { module flag key=value …; };`, words or strings in double quotes,
//! `//` and `/* */` comments. A pure parser over a text of bounded length; it reads no file and knows no module. What the JDK reads, it reads
//! in the same sense, but for `${property}` in values, of which it has none to put in: those are refused, not taken literally. It fails
//! with [`JaasError`], which names file and line and never shows a value. The tests at the end would catch a mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::Secret;

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jaas {
    /// The sections by name.
    pub sections: BTreeMap<String, Vec<LoginModule>>,
}

/// One entry of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginModule {
    /// The Java class.
    pub class: String,
    /// The line on which its entry begins.
    pub line: u32,
    /// Its options. All are secrets: passwords stand among them.
    pub options: BTreeMap<String, Secret>,
}

/// Why a file is no JAAS file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {problem}", path.display())]
pub struct JaasError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: u32,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else must stand here. What was written is not shown: it may be a password, in quotes or not.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What must stand here.
        expected: &'static str,
        /// What does.
        found: &'static str,
    },
    /// A string that does not end on its line.
    #[error("a string in quotes does not end on its line")]
    OpenString,
    /// A comment that does not end.
    #[error("a comment does not end")]
    OpenComment,
    /// The word between class and options is another; it may be a password that has lost its place.
    #[error("no control flag after the class of a login module; write required, requisite, sufficient or optional")]
    ControlFlag,
    /// A section is there twice.
    #[error("there is a second section `{0}`")]
    SecondSection(String),
    /// A value would have to be put together from Java's properties.
    #[error("the value of `{0}` has a ${{property}} in it, which only Java can put in; write the value itself")]
    Property(String),
    /// Java would take it for the start of a number, and fail.
    #[error("`{0}` is no comment and no word here; comments begin with // or /*")]
    StrayCharacter(char),
}

impl Jaas {
    /// Parses a file's text. `path` is for messages.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Jaas, JaasError> {
        let mut parser = Parser { tokens: Tokens { rest: text, line: 1 } };
        parser.file().map_err(|(line, problem)| JaasError { path: path.to_owned(), line, problem })
    }
}

type Result<T, E = (u32, Problem)> = std::result::Result<T, E>;

/// One token, with the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Mark(char),
    End,
}

impl Token {
    /// For a message: what it is, never what it says.
    const fn shown(&self) -> &'static str {
        match self {
            Token::Word(_) => "a word",
            Token::Quoted(_) => "a string in quotes",
            Token::Mark('{') => "`{`",
            Token::Mark('}') => "`}`",
            Token::Mark('=') => "`=`",
            Token::Mark(_) => "`;`",
            Token::End => "the end of the file",
        }
    }
}

struct Parser<'a> {
    tokens: Tokens<'a>,
}

impl Parser<'_> {
    fn file(&mut self) -> Result<Jaas> {
        let mut jaas = Jaas::default();
        loop {
            let (line, token) = self.tokens.next()?;
            let name = match token {
                Token::End => return Ok(jaas),
                Token::Word(name) | Token::Quoted(name) => name,
                found => return Err(unexpected(line, "the name of a section", &found)),
            };
            self.mark('{', "`{` after the name of a section")?;
            let modules = self.modules()?;
            self.mark(';', "`;` after the `}` of a section")?;
            if jaas.sections.contains_key(&name) {
                return Err((line, Problem::SecondSection(name)));
            }
            jaas.sections.insert(name, modules);
        }
    }

    /// Up to and with the section's closing brace.
    fn modules(&mut self) -> Result<Vec<LoginModule>> {
        let mut modules = Vec::new();
        loop {
            let (line, token) = self.tokens.next()?;
            let class = match token {
                Token::Mark('}') => return Ok(modules),
                Token::Word(class) | Token::Quoted(class) => class,
                found => return Err(unexpected(line, "the class of a login module, or `}`", &found)),
            };
            let (flag_line, flag) = self.text("a control flag after the class of a login module")?;
            if !CONTROL_FLAGS.iter().any(|known| known.eq_ignore_ascii_case(&flag)) {
                return Err((flag_line, Problem::ControlFlag));
            }
            modules.push(LoginModule { class, line, options: self.options()? });
        }
    }

    /// Up to and with the module's semicolon.
    fn options(&mut self) -> Result<BTreeMap<String, Secret>> {
        let mut options = BTreeMap::new();
        loop {
            let (line, token) = self.tokens.next()?;
            let key = match token {
                Token::Mark(';') => return Ok(options),
                Token::Word(key) | Token::Quoted(key) => key,
                found => return Err(unexpected(line, "an option, or `;` after the last one", &found)),
            };
            self.mark('=', "`=` after the name of an option")?;
            let (line, value) = self.text("the value of an option")?;
            if value.contains("${") {
                return Err((line, Problem::Property(key)));
            }
            options.insert(key, Secret::new(value));
        }
    }

    fn text(&mut self, expected: &'static str) -> Result<(u32, String)> {
        match self.tokens.next()? {
            (line, Token::Word(text) | Token::Quoted(text)) => Ok((line, text)),
            (line, found) => Err(unexpected(line, expected, &found)),
        }
    }

    fn mark(&mut self, mark: char, expected: &'static str) -> Result<()> {
        match self.tokens.next()? {
            (_, Token::Mark(found)) if found == mark => Ok(()),
            (line, found) => Err(unexpected(line, expected, &found)),
        }
    }
}

fn unexpected(line: u32, expected: &'static str, found: &Token) -> (u32, Problem) {
    (line, Problem::Unexpected { expected, found: found.shown() })
}

const CONTROL_FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// What is left of the text, and the line at which it stands.
struct Tokens<'a> {
    rest: &'a str,
    line: u32,
}

impl Tokens<'_> {
    fn next(&mut self) -> Result<(u32, Token)> {
        self.skip_blanks_and_comments()?;
        let line = self.line;
        let Some(first) = self.rest.chars().next() else { return Ok((line, Token::End)) };
        let token = match first {
            '"' => Token::Quoted(self.quoted()?),
            '{' | '}' | ';' | '=' => {
                self.advance(1);
                Token::Mark(first)
            }
            _ if is_word(first) => {
                let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                let word = self.rest.get(..len).unwrap_or_default().to_owned();
                self.advance(len);
                Token::Word(word)
            }
            _ => return Err((line, Problem::StrayCharacter(first))),
        };
        Ok((line, token))
    }

    fn skip_blanks_and_comments(&mut self) -> Result<()> {
        loop {
            let len = self.rest.find(|c: char| c > ' ').unwrap_or(self.rest.len());
            self.advance(len);
            if self.rest.starts_with("/*") {
                let len = self.rest.find("*/").ok_or((self.line, Problem::OpenComment))?;
                self.advance(len + 2);
            } else if self.rest.starts_with('/') {
                // To the JDK one slash is enough.
                let len = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                self.advance(len);
            } else {
                return Ok(());
            }
        }
    }

    /// A string with Java's escapes.
    fn quoted(&mut self) -> Result<String> {
        let open = Err((self.line, Problem::OpenString));
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        loop {
            match chars.next() {
                None | Some((_, '\n' | '\r')) => return open,
                Some((at, '"')) => {
                    self.advance(at + 1);
                    return Ok(text);
                }
                Some((_, '\\')) => match chars.next() {
                    None | Some((_, '\n' | '\r')) => return open,
                    Some((_, digit @ '0'..='7')) => {
                        // Up to three octal digits, the first of three not above 3.
                        let mut code = digit.to_digit(8).unwrap_or(0);
                        let places = if digit <= '3' { 2 } else { 1 };
                        for _ in 0..places {
                            let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(8)) else { break };
                            code = code * 8 + digit;
                            chars.next();
                        }
                        text.extend(char::from_u32(code));
                    }
                    Some((_, escape)) => text.push(unescaped(escape)),
                },
                Some((_, c)) => text.push(c),
            }
        }
    }

    fn advance(&mut self, len: usize) {
        let (passed, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        let lines = passed.matches('\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
    }
}

/// What `\` before a character stands for.
fn unescaped(escape: char) -> char {
    match escape {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        other => other,
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '$' | '_' | '-' | '*' | '.') || c >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> std::result::Result<Jaas, String> {
        Jaas::parse(Path::new("jaas.conf"), text).map_err(|error| error.to_string())
    }

    fn options(text: &str) -> Vec<(String, String)> {
        let jaas = parse(&format!("S {{ m required {text}; }};")).unwrap_or_else(|error| panic!("{text}: {error}"));
        let module = jaas.sections.get("S").and_then(|modules| modules.first()).expect("one module");
        module.options.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect()
    }

    #[test]
    fn sections_modules_and_options() {
        let text = "// ZooKeeper's\nServer {\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n    user_super=\"adminsecret\" // one\n    \
                    /* not this:\n    user_no=\"no\" */ user_bob=\"bob secret\";\n};\n\"Client\"{a.B Optional x=y;a.C SUFFICIENT;};Empty{};";
        let jaas = parse(text).unwrap();
        assert_eq!(jaas.sections.keys().collect::<Vec<_>>(), ["Client", "Empty", "Server"]);
        let [server] = jaas.sections["Server"].as_slice() else { panic!("{jaas:?}") };
        assert_eq!((server.class.as_str(), server.line), ("org.apache.zookeeper.server.auth.DigestLoginModule", 3));
        let users: Vec<_> = server.options.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        assert_eq!(users, [("user_bob", "bob secret"), ("user_super", "adminsecret")]);
        assert_eq!(jaas.sections["Client"].len(), 2);
        assert!(!format!("{jaas:?}").contains("secret"), "{jaas:?}");
    }

    #[test]
    fn values_with_quotes_and_escapes() {
        for (text, value) in [
            ("k=v", "v"),
            ("k = v-1.2_$*", "v-1.2_$*"),
            ("k=\"\"", ""),
            ("k=\"a b;{}=//c\"", "a b;{}=//c"),
            (r#"k="a\"b\\c\td\101\60\x""#, "a\"b\\c\tdA0x"),
            (r#"k="\4001\1234""#, " 01S4"),
            ("k=\"pässwörd\"", "pässwörd"),
        ] {
            assert_eq!(options(text), [("k".to_owned(), value.to_owned())], "{text}");
        }
        assert_eq!(options("\"user_jörg\"=x k=1 k=2").len(), 2);
        assert_eq!(options(""), []);
    }

    #[test]
    fn mistakes_are_named_with_file_and_line_and_without_passwords() {
        for (text, expected) in [
            ("Server", "1: expected `{` after the name of a section, found the end of the file"),
            ("Server {\n", "2: expected the class of a login module, or `}`, found the end of the file"),
            (
                "Server {\n m \"x y\" ;};",
                "2: no control flag after the class of a login module; write required, requisite, sufficient or optional",
            ),
            ("Server {\n m required\n user_bob secret;};", "3: expected `=` after the name of an option, found a word"),
            ("Server {\n m required user_bob=its secret;};", "2: expected `=` after the name of an option, found `;`"),
            ("Server secret {\n};", "1: expected `{` after the name of a section, found a word"),
            ("Server {\n m required\n a=\"x\"; } secret;", "3: expected `;` after the `}` of a section, found a word"),
            (
                "Server {\n m secret user_bob=x;};",
                "2: no control flag after the class of a login module; write required, requisite, sufficient or optional",
            ),
            ("Server {\n m required\n a=\"secret\"\n};", "4: expected an option, or `;` after the last one, found `}`"),
            (
                "Server {\n m required a=\"secret\" \"secret2\";};",
                "2: expected `=` after the name of an option, found `;`",
            ),
            (
                "Server {\n m required a \"secret\";};",
                "2: expected `=` after the name of an option, found a string in quotes",
            ),
            ("Server {\n m required a=;};", "2: expected the value of an option, found `;`"),
            ("Server {\n m required a=\"secret;\n};", "2: a string in quotes does not end on its line"),
            ("Server { m required; }", "1: expected `;` after the `}` of a section, found the end of the file"),
            ("# comment\nServer {};", "1: `#` is no comment and no word here; comments begin with // or /*"),
            ("\n/* x\n\nServer {};", "2: a comment does not end"),
            ("A {};\nB {};\nA {};", "3: there is a second section `A`"),
            (
                "A { m required k=\"${user.home}\"; };",
                "1: the value of `k` has a ${property} in it, which only Java can put in; write the value itself",
            ),
            ("A { m required k='v'; };", "1: `'` is no comment and no word here; comments begin with // or /*"),
            ("; A {};", "1: expected the name of a section, found `;`"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error, format!("jaas.conf:{expected}"), "{text}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    proptest! {
        /// Wherever a piece of a file is lost, what is said of the rest shows no value, in quotes or not.
        #[test]
        fn no_message_shows_a_value(from in 0_usize..130, len in 1_usize..20) {
            let text = "Server {\n  a.DigestLoginModule required\n user_bob=hidden1 user_eve=\"hidden2 hidden3\"\n user_x=hidden4;\n};\nOther{m optional k=\"hidden5\";};";
            let chars: Vec<char> = text.chars().collect();
            let kept: String = chars.iter().enumerate().filter(|(at, _)| !(from..from + len).contains(at)).map(|(_, c)| c).collect();
            if let Err(message) = parse(&kept) {
                prop_assert!(message.starts_with("jaas.conf:") && !message.contains("hidden"), "{message}: {kept}");
            }
        }

        #[test]
        fn no_text_panics(text in "[ -~\\n\"{};=/*\\\\ä]{0,60}") {
            let _parsed = parse(&text);
        }
    }
}
