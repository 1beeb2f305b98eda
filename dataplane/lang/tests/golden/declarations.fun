uint FUNN f(uint);
PRED p(uint);
uint UDAF g (uint);
