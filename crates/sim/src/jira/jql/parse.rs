//! Reads JQL's grammar into clauses, without knowing what fields and values there are.
//! Must never nest deeper than a person would write: a query is a stranger's text.

use super::token::{Placed, Token, tokens};

/// Longer or deeper queries are nothing that a client of this kind sends.
const CHARS_MAX: usize = 32_000;
const DEPTH_MAX: usize = 40;
const OPERATORS: &str = "The valid operators are '=', '!=', '<', '>', '<=', '>=', '~', '!~', 'IN', 'NOT IN', 'IS' \
                         and 'IS NOT'.";

/// A query as it was written.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) filter: Option<Clause>,
    /// Fields, and whether the greatest comes first.
    pub(super) order: Vec<(String, bool)>,
}

/// One condition, or several.
#[derive(Debug)]
pub(super) enum Clause {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Is { field: String, operator: Operator, values: Vec<Value> },
}

/// What a condition compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
    Is,
    IsNot,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A word or a text, and whether it was quoted.
    Text(String, bool),
    Function(String),
    Empty,
}

/// Reads a query.
pub(super) fn parse(text: &str) -> Result<Query, String> {
    if text.chars().count() > CHARS_MAX {
        return Err(format!("Error in the JQL Query: The query is longer than {CHARS_MAX} characters."));
    }
    let mut reader = Reader { tokens: tokens(text)?, at: 0, end: text.chars().count() + 1 };
    let filter = match reader.peek() {
        None => None,
        Some(_) if reader.is_word("order") => None,
        Some(_) => Some(reader.any(0)?),
    };
    let order = reader.order()?;
    match reader.peek() {
        None => Ok(Query { filter, order }),
        Some(_) => Err(reader.expected("either 'OR' or 'AND'")),
    }
}

struct Reader {
    tokens: Vec<Placed>,
    at: usize,
    end: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(it)) if it.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, what: &str) -> String {
        let (got, place) = match self.tokens.get(self.at) {
            Some((token, place)) => (Some(token), *place),
            None => (None, self.end),
        };
        let got = match got {
            None => {
                return format!(
                    "Error in the JQL Query: Expecting {what} before the end of the query. (line 1, character {place})"
                );
            }
            Some(Token::Word(it) | Token::Text(it)) => it.as_str(),
            Some(Token::Sign(it)) => it,
            Some(Token::Open) => "(",
            Some(Token::Close) => ")",
            Some(Token::Comma) => ",",
        };
        format!("Error in the JQL Query: Expecting {what} but got '{got}'. (line 1, character {place})")
    }

    fn any(&mut self, depth: usize) -> Result<Clause, String> {
        if depth > DEPTH_MAX {
            return Err("Error in the JQL Query: The query is nested too deeply.".to_owned());
        }
        let mut parts = vec![self.all(depth)?];
        while self.take_word("or") || self.take(&Token::Sign("||")) {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Clause::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Clause, String> {
        let mut parts = vec![self.one(depth)?];
        while self.take_word("and") || self.take(&Token::Sign("&&")) {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Clause::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Clause, String> {
        if depth > DEPTH_MAX {
            return Err("Error in the JQL Query: The query is nested too deeply.".to_owned());
        }
        if self.take_word("not") || self.take(&Token::Sign("!")) {
            return Ok(Clause::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let inner = self.any(depth + 1)?;
            return if self.take(&Token::Close) { Ok(inner) } else { Err(self.expected("')'")) };
        }
        let field = self.field()?;
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.list()?,
            _ => vec![self.value()?],
        };
        Ok(Clause::Is { field, operator, values })
    }

    fn field(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Word(it) | Token::Text(it)) => {
                let field = it.clone();
                self.at += 1;
                Ok(field)
            }
            _ => Err(self.expected("a field name")),
        }
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let signs = [
            ("=", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<", Operator::Less),
            ("<=", Operator::LessEqual),
            (">", Operator::Greater),
            (">=", Operator::GreaterEqual),
        ];
        for (sign, operator) in signs {
            if self.take(&Token::Sign(sign)) {
                return Ok(operator);
            }
        }
        if self.take_word("in") {
            return Ok(Operator::In);
        }
        if self.take_word("is") {
            return Ok(if self.take_word("not") { Operator::IsNot } else { Operator::Is });
        }
        let begun = self.at;
        if self.take_word("not") && self.take_word("in") {
            return Ok(Operator::NotIn);
        }
        self.at = begun;
        Err(format!("{} {OPERATORS}", self.expected("operator")))
    }

    fn list(&mut self) -> Result<Vec<Value>, String> {
        if !self.take(&Token::Open) {
            // A function that stands for a list needs no parentheses around it.
            return Ok(vec![self.value()?]);
        }
        let mut values = vec![self.value()?];
        while self.take(&Token::Comma) {
            values.push(self.value()?);
        }
        if self.take(&Token::Close) { Ok(values) } else { Err(self.expected("')' or ','")) }
    }

    fn value(&mut self) -> Result<Value, String> {
        let value = match self.peek() {
            Some(Token::Text(it)) => Value::Text(it.clone(), true),
            Some(Token::Word(it)) if ["empty", "null"].iter().any(|e| it.eq_ignore_ascii_case(e)) => {
                Value::Empty
            }
            Some(Token::Word(it)) => Value::Text(it.clone(), false),
            _ => return Err(self.expected("either a value, list or function")),
        };
        self.at += 1;
        if let Value::Text(name, false) = &value
            && self.take(&Token::Open)
        {
            // None of the functions known here takes an argument.
            let function = Value::Function(name.clone());
            return if self.take(&Token::Close) { Ok(function) } else { Err(self.expected("')'")) };
        }
        Ok(value)
    }

    fn order(&mut self) -> Result<Vec<(String, bool)>, String> {
        let mut order = Vec::new();
        if !self.take_word("order") {
            return Ok(order);
        }
        if !self.take_word("by") {
            return Err(self.expected("'by'"));
        }
        loop {
            let field = self.field()?;
            let descending = self.take_word("desc");
            if !descending {
                self.take_word("asc");
            }
            order.push((field, descending));
            if !self.take(&Token::Comma) {
                return Ok(order);
            }
        }
    }
}
