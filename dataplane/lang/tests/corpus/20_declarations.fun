uint FUN [PARTIAL, COST HIGH] strtoi(string);          PRED [LFTA_LEGAL] is_http_port[uint];
string UDAF [SUBAGGR avg_l, SUPERAGGR avg_h] avg_u fstring12 (uint);   float EXTR extr_avg avg_u extr_avg_fcn (uint);
fstring100 STATE smart_sampling_state;                 bool SFUN ssample smart_sampling_state (uint, uint);
uint (increasing) FUN f(uint (increasing));
PRED [COMBINABLE, COST LOW] str_regex_match[string CLASS, string HANDLE];
string FUN get_list_entry(string l, string sep, uint CONST i);
PRED flag[];
llong UDAF [RUNNING, MULT_RETURNS] running_sum llong (int CONST CLASS x);
