//! Building blocks of emitted code: values, lacks, memory.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, InstBuilder, InstructionData, MemFlagsData, Opcode, SigRef,
    Signature, Value as V,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_jit::JITModule;
use cranelift_module::Module;
use wt_catalog::Type;

use super::flags::Witnesses;
use super::frame::{self, FrameLayout};
use super::host::{self, Host};
use super::sys;

/// Something that this backend has no code for; the reference interpreter takes the program then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsupported(pub(super) &'static str);

/// A value in registers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parts {
    /// A truth value, 8 bits wide.
    Flag(V),
    /// One word.
    Word(V),
    /// The halves of an IPV6.
    Ipv6(V, V),
    /// Family and halves of an INET.
    Inet(V, V, V),
    /// Address and length.
    Bytes(V, V),
    /// Number of a value that the host keeps.
    Kept(V),
    /// A constant that only the host reads.
    HostConst,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Truth {
    Always,
    Never,
    When(V),
}

/// What a node came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Val {
    pub(super) parts: Parts,
    /// A word: 0, or why there is no value. `None`: there always is one.
    pub(super) lack: Option<V>,
}

/// A function under construction.
pub(super) struct Emitter<'f, 'h> {
    pub(super) b: FunctionBuilder<'f>,
    pub(super) host: &'h mut Host,
    pub(super) layout: &'h mut FrameLayout,
    pub(super) frame: V,
    pub(super) zeros: V,
    /// Address behind the last captured byte of the packet at hand.
    pub(super) end: V,
    /// Address of its first byte.
    pub(super) start: V,
    /// Address of its record.
    pub(super) record: V,
    pub(super) link_type: u16,
    pub(super) witnesses: Witnesses,
    /// Where the loop over packets ends.
    pub(super) exit: Option<Block>,
    /// Whether code of the queries so far may reject the packet at hand for a lack.
    pub(super) may_reject: bool,
    evaluate: SigRef,
    keep: SigRef,
    walk: SigRef,
}

/// What blocks without parameters are given.
pub(super) const NO_ARGS: &[BlockArg] = &[];

/// Flags of accesses to the frame.
pub(super) const FRAME: MemFlagsData = MemFlagsData::trusted();

/// Flags of loads from records.
const RECORD: MemFlagsData = MemFlagsData::trusted().with_readonly();

/// Flags of loads from packets: any alignment, never written.
pub(super) fn packet_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_readonly()
}

impl<'f, 'h> Emitter<'f, 'h> {
    /// Starts a function, and gives its parameters beside the frame; the packet comes with [`Self::packet`].
    pub(super) fn new(
        mut b: FunctionBuilder<'f>,
        host: &'h mut Host,
        layout: &'h mut FrameLayout,
        module: &JITModule,
        link_type: u16,
    ) -> (Self, [V; 3]) {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let parameters = b.block_params(entry);
        let frame = parameters[0];
        let others = [parameters[1], parameters[2], parameters[3]];
        let call_conv = module.isa().default_call_conv();
        let zeros = b.ins().load(I64, FRAME, frame, 8 * frame::ZEROS as i32);
        let mut signature = |parameters: usize| {
            let mut signature = Signature::new(call_conv);
            signature.params.extend((0..parameters).map(|_| AbiParam::new(I64)));
            signature.returns.push(AbiParam::new(I64));
            b.import_signature(signature)
        };
        let (evaluate, keep, walk) = (signature(4), signature(3), signature(6));
        let none = zeros;
        let emitter = Self {
            b,
            host,
            layout,
            frame,
            zeros,
            end: none,
            start: none,
            record: none,
            link_type,
            witnesses: Witnesses::default(),
            exit: None,
            may_reject: false,
            evaluate,
            keep,
            walk,
        };
        (emitter, others)
    }

    /// A loop over `count` items of `size` bytes from an address on, which then returns. `body` is given the address of each, and ends in the block
    /// behind which the loop goes on.
    pub(super) fn for_each(
        mut self,
        (items, size, count): (V, usize, V),
        module: &JITModule,
        body: impl FnOnce(&mut Self, V) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let (head, each, exit) =
            (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.exit = Some(exit);
        let bytes = self.word(size as u64);
        let bytes = self.b.ins().imul(count, bytes);
        let last = self.b.ins().iadd(items, bytes);
        self.b.append_block_param(head, I64);
        let first: [BlockArg; 1] = [items.into()];
        self.b.ins().jump(head, &first);

        self.b.switch_to_block(head);
        let item = self.b.block_params(head)[0];
        let more = self.icmp(IntCC::UnsignedLessThan, item, last);
        let none: &[BlockArg] = &[];
        self.b.ins().brif(more, each, none, exit, none);

        self.b.switch_to_block(each);
        body(&mut self, item)?;
        let behind = self.add_const(item, size as u64);
        let again: [BlockArg; 1] = [behind.into()];
        self.b.ins().jump(head, &again);

        self.b.switch_to_block(exit);
        self.b.ins().return_(&[]);
        self.b.seal_all_blocks();
        self.b.finalize(module.target_config());
        Ok(())
    }

    pub(super) fn word(&mut self, value: u64) -> V {
        self.b.ins().iconst(I64, value as i64)
    }

    /// The number that a value is, if that is known now.
    pub(super) fn constant(&self, value: V) -> Option<u64> {
        let inst = self.b.func.dfg.value_def(value).inst()?;
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits() as u64),
            _ => None,
        }
    }

    pub(super) fn flag(&mut self, value: bool) -> V {
        self.b.ins().iconst(I8, i64::from(value))
    }

    pub(super) fn load_frame(&mut self, at: usize) -> V {
        self.b.ins().load(I64, FRAME, self.frame, 8 * at as i32)
    }

    pub(super) fn store_frame(&mut self, at: usize, value: V) {
        self.b.ins().store(FRAME, value, self.frame, 8 * at as i32);
    }

    /// A field of the record at hand, 4 bytes wide. Read where it is used: it would only take a register before.
    pub(super) fn record_u32(&mut self, offset: usize) -> V {
        self.b.ins().uload32(RECORD, self.record, offset as i32)
    }

    /// A field of the record at hand, 8 bytes wide.
    pub(super) fn record_u64(&mut self, offset: usize) -> V {
        self.b.ins().load(I64, RECORD, self.record, offset as i32)
    }

    /// Adds a word to a counter of the frame.
    pub(super) fn count(&mut self, at: usize, by: V) {
        let old = self.load_frame(at);
        let new = self.b.ins().iadd(old, by);
        self.store_frame(at, new);
    }

    /// The same, where a condition holds. Nothing is added where it does not: shorter than a choice between two sums.
    pub(super) fn count_where(&mut self, at: usize, by: V, holds: Truth) {
        match holds {
            Truth::Always => self.count(at, by),
            Truth::Never => {}
            Truth::When(holds) => {
                let zero = self.word(0);
                let by = self.select(holds, by, zero);
                self.count(at, by);
            }
        }
    }

    pub(super) fn count_one(&mut self, at: usize) {
        let one = self.word(1);
        self.count(at, one);
    }

    /// A truth value as a word.
    pub(super) fn widen(&mut self, flag: V) -> V {
        self.b.ins().uextend(I64, flag)
    }

    pub(super) fn icmp(&mut self, cc: IntCC, a: V, b: V) -> V {
        self.b.ins().icmp(cc, a, b)
    }

    pub(super) fn icmp_const(&mut self, cc: IntCC, a: V, b: u64) -> V {
        let b = self.word(b);
        self.b.ins().icmp(cc, a, b)
    }

    /// Leaves for another block where a condition holds; goes on in a new one.
    pub(super) fn leave_if(&mut self, cond: V, target: Block) {
        let (stay, none): (_, &[BlockArg]) = (self.b.create_block(), &[]);
        self.b.ins().brif(cond, target, none, stay, none);
        self.b.switch_to_block(stay);
    }

    /// Leaves the loop over records, if a condition holds, with some words of the frame written. It seldom does.
    pub(super) fn leave_loop_if(
        &mut self,
        cond: V,
        words: &[(usize, V)],
    ) -> Result<(), Unsupported> {
        let exit = self.exit.ok_or(Unsupported("a loop without its end"))?;
        let (leave, stay) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(leave);
        self.b.ins().brif(cond, leave, NO_ARGS, stay, NO_ARGS);
        self.b.switch_to_block(leave);
        for (at, value) in words {
            self.store_frame(*at, *value);
        }
        self.b.ins().jump(exit, NO_ARGS);
        self.b.switch_to_block(stay);
        Ok(())
    }

    /// TRUE where a flag is FALSE.
    pub(super) fn icmp_flag_false(&mut self, flag: V) -> V {
        let off = self.flag(false);
        self.b.ins().icmp(IntCC::Equal, flag, off)
    }

    pub(super) fn add_const(&mut self, a: V, by: u64) -> V {
        if by == 0 {
            return a;
        }
        let by = self.word(by);
        self.b.ins().iadd(a, by)
    }

    pub(super) fn and_const(&mut self, a: V, mask: u64) -> V {
        let mask = self.word(mask);
        self.b.ins().band(a, mask)
    }

    pub(super) fn select(&mut self, cond: V, a: V, b: V) -> V {
        if a == b { a } else { self.b.ins().select(cond, a, b) }
    }

    /// The lack of what is absent unless `present`.
    pub(super) fn absent_unless(&mut self, present: Truth) -> Option<V> {
        self.lack_unless(present, host::ABSENT)
    }

    pub(super) fn lack_unless(&mut self, holds: Truth, lack: u64) -> Option<V> {
        match holds {
            Truth::Always => None,
            Truth::Never => Some(self.word(lack)),
            Truth::When(flag) => {
                let (none, lack) = (self.word(host::NONE), self.word(lack));
                Some(self.b.ins().select(flag, none, lack))
            }
        }
    }

    /// The first lack of two operands.
    pub(super) fn first_lack(&mut self, a: Option<V>, b: Option<V>) -> Option<V> {
        match (a, b) {
            (None, lack) | (lack, None) => lack,
            (Some(a), Some(b)) if a == b => Some(a),
            (Some(a), Some(b)) => Some(self.b.ins().select(a, a, b)),
        }
    }

    /// A flag that is TRUE when there is no lack.
    pub(super) fn has_value(&mut self, lack: Option<V>) -> Truth {
        match lack {
            None => Truth::Always,
            Some(lack) => Truth::When(self.icmp_const(IntCC::Equal, lack, host::NONE)),
        }
    }

    /// The words of a value; `None` for constants that only the host reads.
    pub(super) fn words(&mut self, parts: Parts) -> Option<([V; 3], usize)> {
        Some(match parts {
            Parts::Flag(flag) => {
                let word = self.widen(flag);
                ([word; 3], 1)
            }
            Parts::Word(word) | Parts::Kept(word) => ([word; 3], 1),
            Parts::Ipv6(a, b) | Parts::Bytes(a, b) => ([a, b, b], 2),
            Parts::Inet(a, b, c) => ([a, b, c], 3),
            Parts::HostConst => return None,
        })
    }

    /// The value as one word; types of one word only.
    pub(super) fn as_word(&mut self, parts: Parts) -> Result<V, Unsupported> {
        match parts {
            Parts::Flag(flag) => Ok(self.widen(flag)),
            Parts::Word(word) => Ok(word),
            _ => Err(Unsupported("a number is expected")),
        }
    }

    pub(super) fn as_flag(&mut self, parts: Parts) -> Result<V, Unsupported> {
        match parts {
            Parts::Flag(flag) => Ok(flag),
            Parts::Word(word) => Ok(self.icmp_const(IntCC::NotEqual, word, 0)),
            _ => Err(Unsupported("a truth value is expected")),
        }
    }

    /// A value of a type from its words.
    pub(super) fn parts(&mut self, ty: Type, words: [V; 3]) -> Parts {
        use wt_catalog::layout::Class;
        match Class::of(ty) {
            Class::Word if ty == Type::Bool => {
                Parts::Flag(self.icmp_const(IntCC::NotEqual, words[0], 0))
            }
            Class::Word => Parts::Word(words[0]),
            Class::Ipv6 => Parts::Ipv6(words[0], words[1]),
            Class::Inet => Parts::Inet(words[0], words[1], words[2]),
            Class::Bytes => Parts::Bytes(words[0], words[1]),
            Class::Kept => Parts::Kept(words[0]),
        }
    }

    /// `cond ? a : b`, both of one type.
    pub(super) fn select_parts(
        &mut self,
        cond: V,
        a: Parts,
        b: Parts,
    ) -> Result<Parts, Unsupported> {
        Ok(match (a, b) {
            (Parts::Flag(a), Parts::Flag(b)) => Parts::Flag(self.select_flag(cond, a, b)),
            (Parts::Word(a), Parts::Word(b)) => Parts::Word(self.select(cond, a, b)),
            (Parts::Ipv6(a, b), Parts::Ipv6(c, d)) => {
                Parts::Ipv6(self.select(cond, a, c), self.select(cond, b, d))
            }
            (Parts::Inet(a, b, c), Parts::Inet(d, e, f)) => Parts::Inet(
                self.select(cond, a, d),
                self.select(cond, b, e),
                self.select(cond, c, f),
            ),
            (Parts::Bytes(a, b), Parts::Bytes(c, d)) => {
                Parts::Bytes(self.select(cond, a, c), self.select(cond, b, d))
            }
            (Parts::Kept(a), Parts::Kept(b)) => Parts::Kept(self.select(cond, a, b)),
            _ => return Err(Unsupported("both arms of a condition hold their values alike")),
        })
    }

    /// Calls the host for a node; the lack that it returns.
    pub(super) fn call_evaluate(&mut self, node: usize) -> V {
        let callee = self.word(sys::evaluate_address());
        let host = self.load_frame(frame::HOST);
        let words = self.load_frame(frame::WORDS);
        let node = self.word(node as u64);
        let call =
            self.b.ins().call_indirect(self.evaluate, callee, &[host, self.frame, words, node]);
        self.b.inst_results(call)[0]
    }

    /// Looks an address up in a table of prefixes, which the host holds: family and halves. Its identifier.
    pub(super) fn call_lpm(&mut self, table: u64, [family, high, low]: [V; 3]) -> V {
        let callee = self.word(sys::lpm_address());
        let table = self.word(table);
        let arguments = [table, family, high, low];
        let call = self.b.ins().call_indirect(self.evaluate, callee, &arguments);
        self.b.inst_results(call)[0]
    }

    /// Has the host walk the packet at hand; what it finds goes into the frame from `at` on. How the path ended.
    pub(super) fn call_walk(&mut self, at: usize) -> V {
        let callee = self.word(sys::walk_address());
        let host = self.load_frame(frame::HOST);
        let words = self.load_frame(frame::WORDS);
        let at = self.word(at as u64);
        let arguments = [host, self.frame, words, self.record, self.start, at];
        let call = self.b.ins().call_indirect(self.walk, callee, &arguments);
        self.b.inst_results(call)[0]
    }

    /// Has the host settle the counters of the packet at hand.
    pub(super) fn call_settle(&mut self, counts: V) {
        let callee = self.word(sys::settle_address());
        let host = self.load_frame(frame::HOST);
        let words = self.load_frame(frame::WORDS);
        self.b.ins().call_indirect(self.evaluate, callee, &[host, self.frame, words, counts]);
    }

    /// Has the host keep bytes until the batch ends; their number.
    pub(super) fn call_keep(&mut self, address: V, len: V) -> V {
        let callee = self.word(sys::keep_address());
        let host = self.load_frame(frame::HOST);
        let call = self.b.ins().call_indirect(self.keep, callee, &[host, address, len]);
        self.b.inst_results(call)[0]
    }

    /// Cuts a pattern to the width of a type, unless its significant bits are known to be few enough.
    pub(super) fn wrap(&mut self, word: V, ty: Type, bits: u32) -> V {
        match ty {
            Type::Ushort if bits > 16 => self.and_const(word, 0xffff),
            Type::Uint | Type::Ip if bits > 32 => self.and_const(word, 0xffff_ffff),
            Type::Mac if bits > 48 => self.and_const(word, 0xffff_ffff_ffff),
            Type::Int if bits > 31 => {
                let low = self.b.ins().ireduce(cranelift_codegen::ir::types::I32, word);
                self.b.ins().sextend(I64, low)
            }
            _ => word,
        }
    }
}
