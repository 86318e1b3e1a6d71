//! Parsing.

use std::sync::Arc;

use quantc_ops::{Attr, Attrs, Float, lookup};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, f16};

use crate::text::lexer::{Spanned, Token, lex};
use crate::{Graph, IrError, NodeId, Origin, ValueRef};

/// Parses the text form.
///
/// # Errors
/// With line and column: what was expected, an unknown operator or name, a call that does not type.
pub fn parse(text: &str) -> Result<Graph, IrError> {
    Parser { tokens: lex(text)?, at: 0 }.graph()
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
}

impl Parser {
    fn here(&self) -> &Spanned {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Token {
        &self.here().token
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn error_at(at: &Spanned, message: impl Into<String>) -> IrError {
        IrError::Parse { line: at.line, column: at.column, message: message.into() }
    }

    fn error(&self, message: impl Into<String>) -> IrError {
        Self::error_at(self.here(), message)
    }

    fn expected(&self, what: &str) -> IrError {
        self.error(format!("expected {what}, found {}", self.peek().show()))
    }

    /// Skips comments that stand on their own.
    fn skip_comments(&mut self) {
        while matches!(self.peek(), Token::Comment(_)) {
            self.at += 1;
        }
    }

    fn eat(&mut self, c: char) -> bool {
        let found = *self.peek() == Token::Punct(c);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), IrError> {
        if self.eat(c) { Ok(()) } else { Err(self.expected(&format!("`{c}`"))) }
    }

    fn keyword(&mut self, word: &str) -> Result<(), IrError> {
        match self.peek() {
            Token::Word(w) if w == word => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.expected(&format!("`{word}`"))),
        }
    }

    fn ident(&mut self) -> Result<String, IrError> {
        match self.peek() {
            Token::Word(w) | Token::Str(w) => {
                let w = w.clone();
                self.at += 1;
                Ok(w)
            }
            _ => Err(self.expected("a name")),
        }
    }

    fn ty(&mut self) -> Result<TensorType, IrError> {
        let Token::Word(word) = self.peek().clone() else { return Err(self.expected("a type such as f32[1,3]")) };
        let dtype: DType = word.parse().map_err(|e| self.error(format!("{e}")))?;
        self.at += 1;
        self.expect('[')?;
        let mut dims = Vec::new();
        while !self.eat(']') {
            if !dims.is_empty() {
                self.expect(',')?;
            }
            dims.push(match self.next() {
                Token::Int(n) if n >= 0 => Dim::Known(n as usize),
                Token::Word(w) => Dim::symbol(&w),
                Token::Punct('?') => Dim::Unknown,
                _ => {
                    self.at -= 1;
                    return Err(self.expected("a dimension"));
                }
            });
        }
        Ok(TensorType { dtype, shape: dims.into_iter().collect::<Shape>() })
    }

    fn graph(mut self) -> Result<Graph, IrError> {
        self.skip_comments();
        self.keyword("graph")?;
        let mut graph = Graph::new(&self.ident()?);
        self.expect('(')?;
        let mut first = true;
        while !self.eat(')') {
            if !first {
                self.expect(',')?;
            }
            first = false;
            self.expect('%')?;
            let at = self.here().clone();
            let name = self.ident()?;
            self.expect(':')?;
            let ty = self.ty()?;
            if graph.find(&name).is_some() {
                return Err(Self::error_at(&at, format!("`%{name}` is defined twice")));
            }
            graph.placeholder(&name, ty);
        }
        self.expect('{')?;
        loop {
            self.skip_comments();
            match self.peek() {
                Token::Word(w) if w == "param" => self.param(&mut graph)?,
                Token::Word(w) if w == "return" => break,
                Token::Punct('%') => self.call(&mut graph)?,
                _ => return Err(self.expected("`param`, a call or `return`")),
            }
        }
        self.at += 1;
        let mut outputs = Vec::new();
        self.skip_comments();
        while *self.peek() != Token::Punct('}') || !outputs.is_empty() {
            let name = self.ident()?;
            self.expect('=')?;
            outputs.push((Arc::from(name), self.operand(&mut graph)?));
            if !self.eat(',') {
                break;
            }
        }
        graph.set_outputs(&outputs);
        self.skip_comments();
        self.expect('}')?;
        self.skip_comments();
        if *self.peek() != Token::End {
            return Err(self.expected("the end of the text"));
        }
        Ok(graph)
    }

    fn param(&mut self, graph: &mut Graph) -> Result<(), IrError> {
        self.at += 1;
        self.expect('@')?;
        let at = self.here().clone();
        let name = self.ident()?;
        self.expect(':')?;
        let ty = self.ty()?;
        if graph.params().contains_key(name.as_str()) {
            return Err(Self::error_at(&at, format!("`@{name}` is defined twice")));
        }
        if !self.eat('=') {
            graph.declare_param(&name, ty);
            return Ok(());
        }
        let values = self.literals()?;
        let (Some(shape), Some(numel)) = (ty.shape.to_known(), ty.shape.numel()) else {
            return Err(Self::error_at(&at, format!("`@{name}` has a value, so its shape must be known")));
        };
        if values.len() != numel {
            return Err(Self::error_at(&at, format!("{} values given for {ty}", values.len())));
        }
        let tensor = typed(&values, &shape, ty.dtype).map_err(|m| Self::error_at(&at, m))?;
        graph.param(&name, tensor);
        Ok(())
    }

    fn literals(&mut self) -> Result<Vec<Token>, IrError> {
        self.expect('[')?;
        let mut out = Vec::new();
        while !self.eat(']') {
            if !out.is_empty() {
                self.expect(',')?;
            }
            match self.peek() {
                Token::Int(_) | Token::Float(_) => out.push(self.next()),
                Token::Word(w) if w == "inf" => {
                    out.push(Token::Float(f64::INFINITY));
                    self.at += 1;
                }
                Token::Word(w) if w == "nan" => {
                    out.push(Token::Float(f64::NAN));
                    self.at += 1;
                }
                Token::Word(w) if w == "true" || w == "false" => out.push(self.next()),
                _ => return Err(self.expected("a number")),
            }
        }
        Ok(out)
    }

    fn operand(&mut self, graph: &mut Graph) -> Result<ValueRef, IrError> {
        let at = self.here().clone();
        if self.eat('@') {
            let name = self.ident()?;
            let id = graph
                .get_attr(&name)
                .map_err(|_| Self::error_at(&at, format!("`@{name}` is not declared (hint: param @{name}: type)")))?;
            return Ok(id.into());
        }
        self.expect('%')?;
        let name = self.ident()?;
        let node = graph.find(&name).ok_or_else(|| Self::error_at(&at, format!("`%{name}` is not defined above")))?;
        let output = match *self.peek() {
            Token::Select(n) => {
                self.at += 1;
                n
            }
            _ => 0,
        };
        let outputs = graph.node(node).types().len();
        if output as usize >= outputs {
            return Err(Self::error_at(&at, format!("`%{name}` has {outputs} outputs")));
        }
        Ok(ValueRef { node, output })
    }

    fn call(&mut self, graph: &mut Graph) -> Result<(), IrError> {
        let at = self.here().clone();
        self.expect('%')?;
        let name = self.ident()?;
        if graph.find(&name).is_some() {
            return Err(Self::error_at(&at, format!("`%{name}` is defined twice")));
        }
        self.expect('=')?;
        let op_at = self.here().clone();
        let op_name = self.ident()?;
        let op = lookup(&op_name).ok_or_else(|| Self::error_at(&op_at, format!("there is no operator `{op_name}`")))?;
        self.expect('(')?;
        let mut inputs = Vec::new();
        while !self.eat(')') {
            if !inputs.is_empty() {
                self.expect(',')?;
            }
            if matches!(self.peek(), Token::Word(w) if w == "none") {
                self.at += 1;
                inputs.push(None);
            } else {
                inputs.push(Some(self.operand(graph)?));
            }
        }
        let mut attrs = Attrs::new();
        if self.eat('{') {
            let mut first = true;
            while !self.eat('}') {
                if !first {
                    self.expect(',')?;
                }
                first = false;
                let attr_at = self.here().clone();
                let attr = self.ident()?;
                let Some(attr) = op.signature().attr_name(&attr) else {
                    return Err(Self::error_at(&attr_at, format!("`{op}` has no attribute `{attr}`")));
                };
                self.expect('=')?;
                attrs.set(attr, self.attr()?);
            }
        }
        let mut types = Vec::new();
        if self.eat(':') {
            types.push(self.ty()?);
            while self.eat(',') {
                types.push(self.ty()?);
            }
        }
        let origins = self.origins(at.line)?;
        let id = graph.call(&name, op, &inputs, attrs, &origins).map_err(|e| Self::error_at(&op_at, e.to_string()))?;
        self.declare_types(graph, id, &types, &op_at)
    }

    fn declare_types(&self, graph: &mut Graph, id: NodeId, types: &[TensorType], at: &Spanned) -> Result<(), IrError> {
        if !types.is_empty() && types.len() != graph.node(id).types().len() {
            let have = graph.node(id).types().len();
            return Err(Self::error_at(at, format!("{} types for {have} outputs", types.len())));
        }
        for (output, ty) in types.iter().enumerate() {
            graph
                .refine_type(ValueRef { node: id, output: output as u32 }, ty)
                .map_err(|e| Self::error_at(at, e.to_string()))?;
        }
        Ok(())
    }

    /// The origins in a comment on the same line; any other comment is ignored.
    fn origins(&mut self, line: usize) -> Result<Vec<Origin>, IrError> {
        let here = self.here().clone();
        let Token::Comment(text) = &here.token else { return Ok(Vec::new()) };
        if here.line < line {
            return Ok(Vec::new());
        }
        self.at += 1;
        Ok(parse_origins(text).unwrap_or_default())
    }

    fn attr(&mut self) -> Result<Attr, IrError> {
        Ok(match self.peek().clone() {
            Token::Punct('[') => {
                let items = self.literals()?;
                if items.iter().any(|t| matches!(t, Token::Float(_))) {
                    Attr::Floats(items.iter().map(|t| Float(number(t).unwrap_or(f64::NAN) as f32)).collect())
                } else {
                    Attr::Ints(items.iter().map(|t| if let Token::Int(v) = t { *v } else { 0 }).collect())
                }
            }
            Token::Int(v) => {
                self.at += 1;
                Attr::Int(v)
            }
            Token::Float(v) => {
                self.at += 1;
                Attr::from(v as f32)
            }
            Token::Str(s) => {
                self.at += 1;
                Attr::Str(s)
            }
            Token::Word(w) => {
                let attr = match w.as_str() {
                    "true" => Attr::Bool(true),
                    "false" => Attr::Bool(false),
                    "inf" => Attr::from(f32::INFINITY),
                    "nan" => Attr::from(f32::NAN),
                    dtype => Attr::DType(dtype.parse().map_err(|_| self.expected("an attribute value"))?),
                };
                self.at += 1;
                attr
            }
            _ => return Err(self.expected("an attribute value")),
        })
    }
}

fn number(token: &Token) -> Option<f64> {
    match token {
        Token::Int(v) => Some(*v as f64),
        Token::Float(v) => Some(*v),
        _ => None,
    }
}

fn typed(values: &[Token], shape: &[usize], dtype: DType) -> Result<Tensor, String> {
    let bad = |t: &Token| format!("{} is no {dtype}", t.show());
    let ints = || {
        values.iter().map(|t| if let Token::Int(v) = t { Ok(*v) } else { Err(bad(t)) }).collect::<Result<Vec<_>, _>>()
    };
    let floats = || values.iter().map(|t| number(t).ok_or_else(|| bad(t))).collect::<Result<Vec<_>, _>>();
    let tensor = match dtype {
        DType::F32 => Tensor::from_vec(shape, floats()?.iter().map(|&v| v as f32).collect()),
        DType::F64 => Tensor::from_vec(shape, floats()?),
        DType::F16 => Tensor::from_vec(shape, floats()?.iter().map(|&v| f16::from_f32(v as f32)).collect()),
        DType::Bool => {
            let flags = values
                .iter()
                .map(|t| match t {
                    Token::Word(w) => Ok(w == "true"),
                    _ => Err(bad(t)),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Tensor::from_vec(shape, flags)
        }
        _ => {
            let wide = ints()?;
            let tensor = Tensor::from_vec(shape, wide.clone()).map_err(|e| e.to_string())?.cast(dtype);
            if tensor.to_i64_vec() != wide {
                return Err(format!("a value is outside the range of {dtype}"));
            }
            Ok(tensor)
        }
    };
    tensor.map_err(|e| e.to_string())
}

/// `path: Type(op, 0); path: Type(op, 1) @7`; `None` if the comment is something else.
fn parse_origins(text: &str) -> Option<Vec<Origin>> {
    let tokens = lex(text).ok()?;
    let mut p = Parser { tokens, at: 0 };
    let mut out = Vec::new();
    loop {
        let path = p.ident().ok()?;
        p.expect(':').ok()?;
        let module_type = p.ident().ok()?;
        p.expect('(').ok()?;
        let op = p.ident().ok()?;
        p.expect(',').ok()?;
        let Token::Int(index) = p.next() else { return None };
        p.expect(')').ok()?;
        let origin = Origin::new(&path, &module_type, &op, u32::try_from(index).ok()?);
        out.push(if p.eat('@') {
            let Token::Int(handle) = p.next() else { return None };
            origin.with_handle(u32::try_from(handle).ok()?)
        } else {
            origin
        });
        if !p.eat(';') {
            return (*p.peek() == Token::End).then_some(out);
        }
    }
}
