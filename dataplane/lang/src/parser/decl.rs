//! Function declarations (gsql.md §20.1).

use super::{PResult, Parser, Reported};
use crate::ast::SpanEq;
use crate::ast_decl::{
    FunctionDecl, FunctionFile, FunctionKind, FunctionParam, Modifier, ParamBinding, TypeRef,
};
use crate::lexer::Tok;

const KINDS: [&str; 5] = ["FUN", "UDAF", "EXTR", "STATE", "SFUN"];

impl Parser<'_> {
    pub(super) fn function_file(&mut self) -> PResult<FunctionFile> {
        let mut decls = Vec::new();
        let mut failed = false;
        loop {
            while self.eat(&Tok::Semicolon) {}
            if self.at(&Tok::Eof) {
                break;
            }
            let result = self.function_decl().and_then(|decl| {
                if self.at(&Tok::Eof) {
                    return Ok(decl);
                }
                self.expect(&Tok::Semicolon, "`;`").map(|()| decl)
            });
            match result {
                Ok(decl) => decls.push(decl),
                Err(Reported) => {
                    failed = true;
                    while !matches!(self.peek(), Tok::Semicolon | Tok::Eof) {
                        self.bump();
                    }
                }
            }
        }
        if failed { Err(Reported) } else { Ok(FunctionFile { decls }) }
    }

    fn function_decl(&mut self) -> PResult<FunctionDecl> {
        let start = self.span();
        if self.eat_word("PRED") {
            let modifiers = self.modifiers()?;
            let name = self.name("the name of the predicate")?;
            if !self.at(&Tok::LBracket) {
                return Err(self.expected("`[` and the parameters"));
            }
            let params = self.bracketed(&Tok::RBracket, Self::function_param)?;
            let span = SpanEq(self.span_since(start));
            return Ok(FunctionDecl { name, modifiers, kind: FunctionKind::Pred { params }, span });
        }
        let returns = self.type_ref("a type or `PRED`")?;
        let word = self.word();
        let keyword = match KINDS.iter().find(|k| k.eq_ignore_ascii_case(word)) {
            Some(keyword) => *keyword,
            None => match self.typo_of(word, &KINDS) {
                Some(meant) => {
                    let span = self.span();
                    self.unknown_keyword(span, word, meant);
                    meant
                }
                None => {
                    return Err(self.expected("`FUN`, `UDAF`, `EXTR`, `STATE` or `SFUN`"));
                }
            },
        };
        self.bump();
        if keyword == "STATE" {
            let name = self.name("the name of the state")?;
            let kind = FunctionKind::State { storage: returns.name };
            let span = SpanEq(self.span_since(start));
            return Ok(FunctionDecl { name, modifiers: Vec::new(), kind, span });
        }
        let modifiers = self.modifiers()?;
        let name = self.name("the name of the function")?;
        let kind = match keyword {
            "FUN" => FunctionKind::Fun { returns, params: self.function_params()? },
            "UDAF" => {
                let storage = self.name("the storage type of the aggregate")?;
                FunctionKind::Udaf { returns, storage, params: self.function_params()? }
            }
            "EXTR" => {
                let udaf = self.name("the aggregate that is read")?;
                let function = self.name("the function that reads it")?;
                let params = self.function_params()?;
                FunctionKind::Extractor { returns, udaf, function, params }
            }
            _ => {
                let state = self.name("the state of the function")?;
                FunctionKind::Stateful { returns, state, params: self.function_params()? }
            }
        };
        Ok(FunctionDecl { name, modifiers, kind, span: SpanEq(self.span_since(start)) })
    }

    fn type_ref(&mut self, what: &str) -> PResult<TypeRef> {
        Ok(TypeRef { name: self.name(what)?, attrs: self.attrs()? })
    }

    /// `[ "[" NAME [NAME] {"," NAME [NAME]} "]" ]`
    fn modifiers(&mut self) -> PResult<Vec<Modifier>> {
        if !self.at(&Tok::LBracket) {
            return Ok(Vec::new());
        }
        self.bracketed(&Tok::RBracket, |p| {
            let name = p.name("a modifier")?;
            let value = if p.at(&Tok::Word) { Some(p.name("the modifier's value")?) } else { None };
            Ok(Modifier { name, value })
        })
    }

    fn function_params(&mut self) -> PResult<Vec<FunctionParam>> {
        if !self.at(&Tok::LParen) {
            return Err(self.expected("`(` and the parameters"));
        }
        self.bracketed(&Tok::RParen, Self::function_param)
    }

    fn function_param(&mut self) -> PResult<FunctionParam> {
        let ty = self.type_ref("the type of a parameter")?;
        let binding = if self.eat_word("HANDLE") {
            ParamBinding::Handle
        } else if self.eat_word("CONST") {
            ParamBinding::Const
        } else {
            ParamBinding::Value
        };
        let class = self.eat_word("CLASS");
        let name = if self.at(&Tok::Word) { Some(self.name("a name")?) } else { None };
        Ok(FunctionParam { ty, binding, class, name })
    }
}
