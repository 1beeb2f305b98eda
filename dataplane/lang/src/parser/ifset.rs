//! Interface sets (gsql.md §8).

use super::{HEIGHT_MAX, PResult, Parser, Reported};
use crate::ast::{Literal, SpanEq};
use crate::ast_decl::{InterfacePred, InterfaceSet, InterfaceSets};
use crate::lexer::Tok;
use crate::span::Ident;

/// A predicate with the height of its tree.
type Tall = (InterfacePred, u32);

impl Parser<'_> {
    pub(super) fn interface_sets(&mut self) -> PResult<InterfaceSets> {
        let mut sets = Vec::new();
        let mut failed = false;
        loop {
            while self.eat(&Tok::Semicolon) {}
            if self.at(&Tok::Eof) {
                break;
            }
            let result = self.interface_set().and_then(|set| {
                if matches!(self.peek(), Tok::Semicolon | Tok::Eof) {
                    Ok(set)
                } else {
                    Err(self.after_operand("`;`"))
                }
            });
            match result {
                Ok(set) => sets.push(set),
                Err(Reported) => {
                    failed = true;
                    while !matches!(self.peek(), Tok::Semicolon | Tok::Eof) {
                        self.bump();
                    }
                }
            }
        }
        if failed { Err(Reported) } else { Ok(InterfaceSets { sets }) }
    }

    fn interface_set(&mut self) -> PResult<InterfaceSet> {
        let start = self.span();
        let name = self.name("the name of an interface set")?;
        self.expect(&Tok::Colon, "`:` and a predicate")?;
        let (predicate, _) = self.interface_or()?;
        Ok(InterfaceSet { name, predicate, span: SpanEq(self.span_since(start)) })
    }

    fn grow_set(&mut self, height: u32) -> PResult<u32> {
        if height >= HEIGHT_MAX {
            let span = self.span();
            return Err(self.too_deep(span, "the predicate", HEIGHT_MAX));
        }
        Ok(height + 1)
    }

    fn interface_or(&mut self) -> PResult<Tall> {
        let (mut left, mut height) = self.interface_and()?;
        while self.eat_word("OR") || self.eat(&Tok::OrOr) {
            let (right, right_height) = self.interface_and()?;
            height = self.grow_set(height.max(right_height))?;
            left = InterfacePred::Or(Box::new(left), Box::new(right));
        }
        Ok((left, height))
    }

    fn interface_and(&mut self) -> PResult<Tall> {
        let (mut left, mut height) = self.interface_not()?;
        while self.eat_word("AND") || self.eat(&Tok::AndAnd) {
            let (right, right_height) = self.interface_not()?;
            height = self.grow_set(height.max(right_height))?;
            left = InterfacePred::And(Box::new(left), Box::new(right));
        }
        Ok((left, height))
    }

    fn interface_not(&mut self) -> PResult<Tall> {
        let mut nots = 0u32;
        while self.eat_word("NOT") {
            nots = nots.saturating_add(1);
        }
        let (mut predicate, mut height) = self.interface_primary()?;
        for _ in 0..nots {
            height = self.grow_set(height)?;
            predicate = InterfacePred::Not(Box::new(predicate));
        }
        Ok((predicate, height))
    }

    fn interface_primary(&mut self) -> PResult<Tall> {
        let start = self.span();
        if self.eat(&Tok::LParen) {
            return self.nested(start, |p| {
                let inner = p.interface_or()?;
                p.close(&Tok::RParen, start, "an operator")?;
                Ok(inner)
            });
        }
        let word = self.word();
        let known = ["Contains", "Equals", "Exists"];
        let Some(test) = known.iter().find(|k| k.eq_ignore_ascii_case(word)) else {
            if let Some(meant) = self.typo_of(word, &known) {
                return Err(self.unknown_keyword(start, word, meant));
            }
            return Err(self.expected("`Contains[…]`, `Equals[…]`, `Exists[…]` or `(`"));
        };
        self.bump();
        let opener = self.span();
        self.expect(&Tok::LBracket, "`[` and a property")?;
        let property = self.property_text("the name of a property")?;
        let predicate = if *test == "Exists" {
            InterfacePred::Exists { property }
        } else {
            self.expect(&Tok::Comma, "`,` and a value")?;
            let value = self.property_text("a value")?;
            if *test == "Contains" {
                InterfacePred::Contains { property, value }
            } else {
                InterfacePred::Equals { property, value }
            }
        };
        self.close(&Tok::RBracket, opener, "")?;
        Ok((predicate, 1))
    }

    /// A property name or value: a word, a string or a number.
    fn property_text(&mut self, what: &str) -> PResult<Ident> {
        let span = self.span();
        let text = match self.peek() {
            Tok::Word => self.word().to_owned(),
            Tok::Literal(Literal::String(text)) => text.clone(),
            Tok::Literal(Literal::Uint(n)) => n.to_string(),
            Tok::Bad => String::new(),
            _ => return Err(self.expected(what)),
        };
        self.bump();
        Ok(Ident::new(text, span))
    }
}
