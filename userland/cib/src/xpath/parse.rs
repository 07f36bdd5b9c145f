//! Text to expression: the tokens of XPath 1.0 with their rules for `*` and for names that are operators, then descent.

use super::XPathError;

/// Longest expression, in bytes.
const LENGTH_MAX: usize = 64 * 1024;
/// Deepest nesting of parentheses, predicates and calls.
const DEPTH_MAX: u32 = 48;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Or(Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Compare(Compare, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    Union(Box<Expr>, Box<Expr>),
    Literal(String),
    Number(f64),
    Call(Function, Vec<Expr>),
    Path { start: Start, steps: Vec<Step> },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Start {
    Root,
    Context,
    Of(Box<Expr>, Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) axis: Axis,
    pub(super) test: Test,
    pub(super) predicates: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `node()`.
    Any,
    /// `*`: of the axis' own kind.
    Star,
    Name(String),
    /// `text()`, `comment()`, `processing-instruction()`.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Ancestor,
    AncestorOrSelf,
    Attribute,
    Child,
    Descendant,
    DescendantOrSelf,
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Boolean,
    Ceiling,
    Concat,
    Contains,
    Count,
    False,
    Floor,
    Last,
    Name,
    NormalizeSpace,
    Not,
    Number,
    Position,
    Round,
    StartsWith,
    String,
    StringLength,
    Substring,
    SubstringAfter,
    SubstringBefore,
    Sum,
    Translate,
    True,
}

impl Function {
    /// By name, with the least and most arguments.
    fn named(name: &str) -> Option<(Self, usize, usize)> {
        Some(match name {
            "boolean" => (Self::Boolean, 1, 1),
            "ceiling" => (Self::Ceiling, 1, 1),
            "concat" => (Self::Concat, 2, usize::MAX),
            "contains" => (Self::Contains, 2, 2),
            "count" => (Self::Count, 1, 1),
            "false" => (Self::False, 0, 0),
            "floor" => (Self::Floor, 1, 1),
            "last" => (Self::Last, 0, 0),
            // Without namespaces both are the same.
            "name" | "local-name" => (Self::Name, 0, 1),
            "normalize-space" => (Self::NormalizeSpace, 0, 1),
            "not" => (Self::Not, 1, 1),
            "number" => (Self::Number, 0, 1),
            "position" => (Self::Position, 0, 0),
            "round" => (Self::Round, 1, 1),
            "starts-with" => (Self::StartsWith, 2, 2),
            "string" => (Self::String, 0, 1),
            "string-length" => (Self::StringLength, 0, 1),
            "substring" => (Self::Substring, 2, 3),
            "substring-after" => (Self::SubstringAfter, 2, 2),
            "substring-before" => (Self::SubstringBefore, 2, 2),
            "sum" => (Self::Sum, 1, 1),
            "translate" => (Self::Translate, 3, 3),
            "true" => (Self::True, 0, 0),
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// Punctuation and operators, those with names too.
    Sign(&'static str),
    Name(String),
    Literal(String),
    Number(f64),
}

pub(super) fn parse(text: &str) -> Result<Expr, XPathError> {
    if text.len() > LENGTH_MAX {
        return Err(XPathError(format!("XPath: longer than {LENGTH_MAX} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, text };
    let expr = parser.or()?;
    if parser.at < parser.tokens.len() {
        return Err(parser.fail("something is left over"));
    }
    Ok(expr)
}

/// Longest first.
const SIGNS: [&str; 21] = [
    "::", "..", "//", "!=", "<=", ">=", "(", ")", "[", "]", ".", "@", ",", "/", "|", "+", "-", "=", "<", ">",
    "*",
];

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, XPathError> {
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_ascii_whitespace() {
            at += 1;
        } else if c == '"' || c == '\'' {
            let Some(end) = rest[1..].find(c) else {
                return Err(XPathError(format!("XPath {text}: the quote at {} is never closed", at + 1)));
            };
            tokens.push((at, Token::Literal(rest[1..=end].to_owned())));
            at += end + 2;
        } else if c.is_ascii_digit()
            || (c == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()))
        {
            let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
            let mut length = whole;
            if rest[whole..].starts_with('.') {
                length += 1 + rest[whole + 1..].bytes().take_while(u8::is_ascii_digit).count();
            }
            // Digits and one point always are a number.
            tokens.push((at, Token::Number(rest[..length].parse().unwrap_or(f64::NAN))));
            at += length;
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            tokens.push((at, Token::Sign(sign)));
            at += sign.len();
        } else if c.is_alphabetic() || c == '_' {
            let length = rest
                .char_indices()
                .find(|(_, c)| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
                .map_or(rest.len(), |(i, _)| i);
            let name = &rest[..length];
            // After an operand it is an operator, everywhere else a name.
            let operator = ["and", "or", "mod", "div"].into_iter().find(|o| *o == name);
            let token = match operator.filter(|_| ends_operand(tokens.last())) {
                Some(operator) => Token::Sign(operator),
                None => Token::Name(name.to_owned()),
            };
            tokens.push((at, token));
            at += length;
        } else {
            return Err(XPathError(format!(
                "XPath {text}: '{}' at {} is not understood",
                c.escape_debug(),
                at + 1
            )));
        }
    }
    // A star after an operand multiplies.
    for i in 1..tokens.len() {
        if tokens[i].1 == Token::Sign("*") && ends_operand(Some(&tokens[i - 1])) {
            tokens[i].1 = Token::Sign("times");
        }
    }
    Ok(tokens)
}

fn ends_operand(token: Option<&(usize, Token)>) -> bool {
    match token {
        None => false,
        Some((_, Token::Sign(sign))) => matches!(*sign, ")" | "]" | "." | ".." | "*"),
        Some(_) => true,
    }
}

struct Parser<'t> {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: u32,
    text: &'t str,
}

type Parsed = Result<Expr, XPathError>;
type Join = fn(Box<Expr>, Box<Expr>) -> Expr;

impl Parser<'_> {
    fn fail(&self, what: &str) -> XPathError {
        let at = self.tokens.get(self.at).map_or(self.text.len(), |(at, _)| *at);
        XPathError(format!("XPath {}: {what} at {}", self.text, at + 1))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.tokens.get(self.at), Some((_, Token::Sign(s))) if *s == sign)
    }

    fn is_ahead(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some((_, Token::Sign(s))) if *s == sign)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn need(&mut self, sign: &str) -> Result<(), XPathError> {
        if self.eat(sign) { Ok(()) } else { Err(self.fail(&format!("'{sign}' is missing"))) }
    }

    /// Operators of one rank, from the left.
    fn rank(&mut self, next: fn(&mut Self) -> Parsed, operators: &[(&str, Join)]) -> Parsed {
        let mut left = next(self)?;
        while let Some((_, join)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            self.at += 1;
            // A long chain is as deep as a nested one when it is evaluated.
            self.depth += 1;
            self.check_depth()?;
            left = join(Box::new(left), Box::new(next(self)?));
        }
        Ok(left)
    }

    fn check_depth(&self) -> Result<(), XPathError> {
        if self.depth > DEPTH_MAX * 4 { Err(self.fail("nested too deeply")) } else { Ok(()) }
    }

    fn or(&mut self) -> Parsed {
        self.depth += 4;
        self.check_depth()?;
        let before = self.depth;
        let expr = self.rank(Self::and, &[("or", Expr::Or)])?;
        self.depth = before - 4;
        Ok(expr)
    }

    fn and(&mut self) -> Parsed {
        self.rank(Self::equality, &[("and", Expr::And)])
    }

    fn equality(&mut self) -> Parsed {
        self.rank(
            Self::relation,
            &[
                ("=", |a, b| Expr::Compare(Compare::Equal, a, b)),
                ("!=", |a, b| Expr::Compare(Compare::NotEqual, a, b)),
            ],
        )
    }

    fn relation(&mut self) -> Parsed {
        self.rank(
            Self::sum,
            &[
                ("<", |a, b| Expr::Compare(Compare::Less, a, b)),
                ("<=", |a, b| Expr::Compare(Compare::LessOrEqual, a, b)),
                (">", |a, b| Expr::Compare(Compare::Greater, a, b)),
                (">=", |a, b| Expr::Compare(Compare::GreaterOrEqual, a, b)),
            ],
        )
    }

    fn sum(&mut self) -> Parsed {
        self.rank(
            Self::product,
            &[
                ("+", |a, b| Expr::Arithmetic(Arithmetic::Add, a, b)),
                ("-", |a, b| Expr::Arithmetic(Arithmetic::Subtract, a, b)),
            ],
        )
    }

    fn product(&mut self) -> Parsed {
        self.rank(
            Self::negation,
            &[
                ("times", |a, b| Expr::Arithmetic(Arithmetic::Multiply, a, b)),
                ("div", |a, b| Expr::Arithmetic(Arithmetic::Divide, a, b)),
                ("mod", |a, b| Expr::Arithmetic(Arithmetic::Modulo, a, b)),
            ],
        )
    }

    fn negation(&mut self) -> Parsed {
        let mut negate = 0u32;
        while self.eat("-") {
            negate += 1;
        }
        let expr = self.rank(Self::path, &[("|", Expr::Union)])?;
        Ok(match negate {
            0 => expr,
            n if n % 2 == 1 => Expr::Negate(Box::new(expr)),
            // Twice negated is a number still.
            _ => Expr::Negate(Box::new(Expr::Negate(Box::new(expr)))),
        })
    }

    fn path(&mut self) -> Parsed {
        if self.eat("/") {
            let steps = if self.begins_step() { self.steps()? } else { Vec::new() };
            return Ok(Expr::Path { start: Start::Root, steps });
        }
        if self.eat("//") {
            let mut steps = vec![Step::ANY_BELOW];
            steps.extend(self.steps()?);
            return Ok(Expr::Path { start: Start::Root, steps });
        }
        if self.begins_step() {
            return Ok(Expr::Path { start: Start::Context, steps: self.steps()? });
        }
        let primary = self.primary()?;
        let predicates = self.predicates()?;
        let mut steps = Vec::new();
        if self.eat("//") {
            steps.push(Step::ANY_BELOW);
            steps.extend(self.steps()?);
        } else if self.eat("/") {
            steps = self.steps()?;
        }
        if predicates.is_empty() && steps.is_empty() {
            return Ok(primary);
        }
        Ok(Expr::Path { start: Start::Of(Box::new(primary), predicates), steps })
    }

    fn begins_step(&self) -> bool {
        match self.tokens.get(self.at) {
            Some((_, Token::Sign(sign))) => matches!(*sign, "." | ".." | "@" | "*"),
            // A name before a parenthesis calls a function, unless it is a test for a kind of nodes.
            Some((_, Token::Name(name))) => !self.is_ahead(1, "(") || is_kind(name),
            _ => false,
        }
    }

    fn steps(&mut self) -> Result<Vec<Step>, XPathError> {
        let mut steps = vec![self.step()?];
        loop {
            if self.eat("//") {
                steps.push(Step::ANY_BELOW);
            } else if !self.eat("/") {
                return Ok(steps);
            }
            steps.push(self.step()?);
        }
    }

    fn step(&mut self) -> Result<Step, XPathError> {
        if self.eat(".") {
            return Ok(Step { axis: Axis::Own, test: Test::Any, predicates: Vec::new() });
        }
        if self.eat("..") {
            return Ok(Step { axis: Axis::Parent, test: Test::Any, predicates: Vec::new() });
        }
        let axis = if self.eat("@") {
            Axis::Attribute
        } else if self.is_ahead(1, "::") {
            let axis = self.name()?;
            self.at += 1;
            axis_named(&axis).ok_or_else(|| self.fail(&format!("there is no axis \"{axis}\"")))?
        } else {
            Axis::Child
        };
        let test = if self.eat("*") {
            Test::Star
        } else {
            let name = self.name()?;
            if is_kind(&name) && self.eat("(") {
                if name == "processing-instruction"
                    && matches!(self.tokens.get(self.at), Some((_, Token::Literal(_))))
                {
                    self.at += 1;
                }
                self.need(")")?;
                if name == "node" { Test::Any } else { Test::Nothing }
            } else {
                Test::Name(name)
            }
        };
        Ok(Step { axis, test, predicates: self.predicates()? })
    }

    fn predicates(&mut self) -> Result<Vec<Expr>, XPathError> {
        let mut predicates = Vec::new();
        while self.eat("[") {
            predicates.push(self.or()?);
            self.need("]")?;
        }
        Ok(predicates)
    }

    fn name(&mut self) -> Result<String, XPathError> {
        match self.tokens.get(self.at) {
            Some((_, Token::Name(name))) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.fail("a name is missing")),
        }
    }

    fn primary(&mut self) -> Parsed {
        if self.eat("(") {
            let expr = self.or()?;
            self.need(")")?;
            return Ok(expr);
        }
        match self.tokens.get(self.at).map(|(_, token)| token.clone()) {
            Some(Token::Literal(text)) => {
                self.at += 1;
                Ok(Expr::Literal(text))
            }
            Some(Token::Number(number)) => {
                self.at += 1;
                Ok(Expr::Number(number))
            }
            Some(Token::Name(name)) => {
                let Some((function, least, most)) = Function::named(&name) else {
                    return Err(self.fail(&format!("there is no function \"{name}\"")));
                };
                self.at += 1;
                self.need("(")?;
                let mut arguments = Vec::new();
                if !self.is(")") {
                    arguments.push(self.or()?);
                    while self.eat(",") {
                        arguments.push(self.or()?);
                    }
                }
                self.need(")")?;
                if !(least..=most).contains(&arguments.len()) {
                    return Err(self.fail(&format!("{name}() has too few or too many arguments")));
                }
                Ok(Expr::Call(function, arguments))
            }
            _ => Err(self.fail("an expression is missing")),
        }
    }
}

impl Step {
    const ANY_BELOW: Self = Self { axis: Axis::DescendantOrSelf, test: Test::Any, predicates: Vec::new() };
}

fn is_kind(name: &str) -> bool {
    matches!(name, "node" | "text" | "comment" | "processing-instruction")
}

fn axis_named(name: &str) -> Option<Axis> {
    Some(match name {
        "ancestor" => Axis::Ancestor,
        "ancestor-or-self" => Axis::AncestorOrSelf,
        "attribute" => Axis::Attribute,
        "child" => Axis::Child,
        "descendant" => Axis::Descendant,
        "descendant-or-self" => Axis::DescendantOrSelf,
        "following" => Axis::Following,
        "following-sibling" => Axis::FollowingSibling,
        "parent" => Axis::Parent,
        "preceding" => Axis::Preceding,
        "preceding-sibling" => Axis::PrecedingSibling,
        "self" => Axis::Own,
        _ => return None,
    })
}
