//! Connections and RPC over the Network seam.
